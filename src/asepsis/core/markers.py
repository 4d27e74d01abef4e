"""Which of two worlds a component is for: models that answer to samples, or that make them."""

from __future__ import annotations


def generates(part: object) -> bool:
    """Whether a component is for, or works in, federations that train a generator of samples.

    A task that says so needs a model and a trainer that do, and no other task may have these.
    """
    return bool(getattr(part, "generates", False))


def classifies(part: object) -> bool:
    """Whether a component works where a model answers to samples: all that do not deny it."""
    return bool(getattr(part, "classifies", True))
