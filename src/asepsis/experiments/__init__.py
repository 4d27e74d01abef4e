"""Experiments as data: specification, running, sweeping, storing."""
