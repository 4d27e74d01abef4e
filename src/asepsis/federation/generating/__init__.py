"""Federations that train a generator: what fits them, and what their images are worth."""
