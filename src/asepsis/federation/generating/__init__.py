"""Judging generators: features, triggers, what images are worth and what they give away."""
