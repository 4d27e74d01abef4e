"""Transports: what the channel delivers decides who can see what."""
