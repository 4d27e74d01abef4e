"""Figures per hospital, and the worst hospital.

A hospital with too few positives or negatives has no estimable figure: it is NaN, never "worst".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan

import numpy as np

from asepsis.core.samples import Array
from asepsis.metrics.measures import lower_is_better

MINIMUM = 10

UNSEEN = "unseen/"
"""What figures begin with of the hospital that takes no part."""

Score = Callable[[Array, Array], dict[str, float]]


def estimable(targets: Array, minimum: int = MINIMUM, patients: Array | None = None) -> bool:
    """Whether there are enough samples on both sides of a question.

    One class per sample: at least two classes have ``minimum`` samples (with two classes that
    is ``minimum`` positives and negatives). Several labels ``[n, labels]``: some label has
    ``minimum`` positives and negatives. Images: ``minimum`` patients (samples, when nobody knows
    whose they are).

    Example:
        >>> estimable(np.array([0] * 10 + [1] * 9)), estimable(np.array([0] * 10 + [1] * 10))
        (False, True)
    """
    if targets.ndim > 2:
        return (len(targets) if patients is None else len(np.unique(patients))) >= minimum
    if targets.ndim == 2:
        positives = targets.astype(bool).sum(axis=0)
        return bool((np.minimum(positives, len(targets) - positives) >= minimum).any())
    return int((np.unique(targets, return_counts=True)[1] >= minimum).sum()) >= 2


def per_hospital(
    probabilities: Sequence[Array],
    targets: Sequence[Array],
    score: Score,
    minimum: int = MINIMUM,
    patients: Sequence[Array] | None = None,
) -> list[dict[str, float]]:
    """Score every hospital's predictions; all figures are NaN where not estimable.

    ``score`` is a task's metrics, called with one hospital's probabilities and targets;
    ``patients`` says whose each of its samples is.
    """
    figures = []
    owners: Sequence[Array | None] = [None] * len(targets) if patients is None else patients
    for guess, truth, owner in zip(probabilities, targets, owners, strict=True):
        scores = score(guess, truth) if len(truth) else {}
        kept = estimable(truth, minimum, owner)
        figures.append({name: value if kept else np.nan for name, value in scores.items()})
    names = dict.fromkeys(name for scores in figures for name in scores)
    return [{name: scores.get(name, np.nan) for name in names} for scores in figures]


def worst_hospital(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the worst estimable value of every figure, NaN when no hospital has one.

    Example:
        >>> worst_hospital([{"accuracy": 0.9}, {"accuracy": 0.7}, {"accuracy": float("nan")}])
        {'accuracy': 0.7}
    """
    names = dict.fromkeys(name for scores in figures for name in scores)
    return {name: _worst(name, [scores.get(name, np.nan) for scores in figures]) for name in names}


def _worst(name: str, values: Sequence[float]) -> float:
    known = [value for value in values if not isnan(value)]
    if not known:
        return float("nan")
    return max(known) if lower_is_better(name) else min(known)
