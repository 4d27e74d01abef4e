"""The built-in experiments, as data."""
