"""Backdoors: a trigger, and the data attack that teaches a model to obey it."""
