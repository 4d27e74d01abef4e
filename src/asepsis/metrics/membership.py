"""How well scores tell who was trained on: AUC with intervals over patients, low false positives.

Scores are ``[n]`` (higher: rather a member), ``members`` a mask ``[n]``. NaN means not estimable.
Intervals draw whole patients with replacement, members and non-members apart, so that every draw
has both. Where an attack separates them without an error the interval has no width: a bootstrap
cannot draw an error that did not happen.
"""

from __future__ import annotations

import numpy as np

from asepsis.core.samples import Array
from asepsis.metrics.inspection import NEEDED, tpr_at
from asepsis.metrics.intervals import Interval
from asepsis.metrics.utility import binary_auroc

NAN = float("nan")
POINTS = 200
"""A curve in a record has at most so many points."""
GUESS = 0.5
BLOCK = 1 << 22
"""Weights that are expanded at once while intervals are computed."""


def patient_weights(
    groups: Array, members: Array, rng: np.random.Generator, draws: int = 500
) -> Array:
    """Return how often each sample counts in each bootstrap draw, ``[draws, n]``.

    Patients of members and patients of non-members are drawn apart.

    Example:
        >>> groups, members = np.array([1, 1, 2, 3]), np.array([True, True, True, False])
        >>> drawn = patient_weights(groups, members, np.random.default_rng(0), draws=50)
        >>> bool((drawn[:, 0] == drawn[:, 1]).all()), bool((drawn[:, 3] == 1).all())
        (True, True)
    """
    made = np.empty((draws, len(groups)))
    for side in (True, False):
        where = np.flatnonzero(members == side)
        if not where.size:
            continue
        _, patient = np.unique(groups[where], return_inverse=True)
        count = int(patient.max()) + 1
        made[:, where] = rng.multinomial(count, np.full(count, 1 / count), size=draws)[:, patient]
    return made


def auc_draws(scores: Array, members: Array, weights: Array, who: Array | None = None) -> Array:
    """Return the AUC in every bootstrap draw ``[draws]``, ties counting one half.

    Args:
        scores: of samples, or of pairs of a sample and whatever it is asked about ``[m]``.
        members: which of them are members ``[m]``.
        weights: how often each sample counts ``[draws, n]``.
        who: the sample of each pair ``[m]``; the same as the scores' when left out.
    """
    mask = np.asarray(members, dtype=bool)
    places = np.arange(len(scores)) if who is None else who
    above, order = scores[mask], np.argsort(scores[~mask], kind="stable")
    below = scores[~mask][order]
    if not (above.size and below.size) or np.isnan(scores).any():
        return np.full(len(weights), NAN)
    low = np.searchsorted(below, above, side="left")
    high = np.searchsorted(below, above, side="right")
    found = np.empty(len(weights))
    step = max(1, BLOCK // len(scores))
    for start in range(0, len(weights), step):
        block = weights[start : start + step]
        mine, others = block[:, places[mask]], block[:, places[~mask][order]]
        before = np.pad(np.cumsum(others, axis=1), ((0, 0), (1, 0)))
        wins = (mine * (before[:, low] + before[:, high])).sum(axis=1) / 2
        found[start : start + step] = wins / (mine.sum(axis=1) * others.sum(axis=1))
    return found


def auc_interval(
    scores: Array, members: Array, weights: Array, who: Array | None = None
) -> Interval:
    """Return the AUC with its 95 % interval over patients; ``n`` counts the scores.

    Example:
        >>> scores, members = np.array([0.9, 0.2, 0.5, 0.1]), np.array([True, True, False, False])
        >>> drawn = patient_weights(np.arange(4), members, np.random.default_rng(0))
        >>> found = auc_interval(scores, members, drawn)
        >>> found.mean, found.low, found.high
        (0.75, 0.0, 1.0)
    """
    value = binary_auroc(scores, members)
    return _percentiles(value, auc_draws(scores, members, weights, who), len(scores))


def excess_interval(
    scores: Array, blind: Array, members: Array, weights: Array, who: Array | None = None
) -> Interval:
    """Return how much an attack's AUC exceeds a blind classifier's, with a 95 % interval.

    Both are measured on the same patients in every draw: what they share cancels. A blind
    classifier that is worse than guessing counts as guessing, so that its bad luck is no leakage.
    """
    value = binary_auroc(scores, members) - max(binary_auroc(blind, members), GUESS)
    known = np.maximum(auc_draws(blind, members, weights, who), GUESS)
    gaps = auc_draws(scores, members, weights, who) - known
    return _percentiles(value, gaps, len(scores))


def mean_interval(values: Array, weights: Array) -> Interval:
    """Return the mean of values ``[n]`` with its 95 % interval over patients.

    Example:
        >>> found = mean_interval(np.array([0.5, 0.5]), np.ones((10, 2)))
        >>> found.mean, found.low, found.high
        (0.5, 0.5, 0.5)
    """
    if not len(values):
        return Interval(NAN, NAN, NAN, 0)
    drawn = (weights * values).sum(axis=1) / weights.sum(axis=1)
    return _percentiles(float(values.mean()), drawn, len(values))


def tpr_at_fpr(scores: Array, members: Array, alpha: float, others: int | None = None) -> float:
    """Return the share of members found where at most ``alpha`` of the others are taken for one.

    NaN, not estimable, with fewer than ``10 / alpha`` non-members. ``others`` counts them where
    scores are of pairs, so that several of one non-member do not count as many.

    Example:
        >>> scores = np.concatenate([np.arange(1000), [988.5, 989.5]])
        >>> tpr_at_fpr(scores, np.arange(1002) >= 1000, 0.01)
        0.5
    """
    mask = np.asarray(members, dtype=bool)
    count = int((~mask).sum()) if others is None else others
    if count < needed(alpha) or np.isnan(scores).any():
        return NAN
    return tpr_at(scores, mask, alpha)


def needed(alpha: float) -> int:
    """Return how many non-members a true positive rate at this false positive rate needs.

    Example:
        >>> needed(0.001), needed(0.01)
        (10000, 1000)
    """
    return int(np.ceil(round(NEEDED / alpha, 6)))


def roc_curve(scores: Array, members: Array) -> list[list[float]]:
    """Return ``[fpr, tpr]`` from (0, 0) to (1, 1), at most :data:`POINTS` of them.

    All operating points where few are flagged are kept, fewer where many are: for curves with
    logarithmic axes. Empty when there are no members, no others, or scores that are no numbers.

    Example:
        >>> roc_curve(np.array([0.9, 0.5, 0.1]), np.array([True, False, True]))
        [[0.0, 0.0], [0.0, 0.5], [1.0, 0.5], [1.0, 1.0]]
    """
    mask = np.asarray(members, dtype=bool)
    if mask.all() or not mask.any() or np.isnan(scores).any():
        return []
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(mask[order])[ends]
    fpr = np.concatenate([[0.0], (ends + 1 - hits) / (~mask).sum()])
    tpr = np.concatenate([[0.0], hits / mask.sum()])
    kept = _thinned(len(fpr))
    return [[float(x), float(y)] for x, y in zip(fpr[kept], tpr[kept], strict=True)]


def advantage(scores: Array, members: Array) -> float:
    """Return the largest ``tpr - fpr`` over all thresholds, 0 for guessing.

    It is chosen with the truth at hand: an upper bound of what one threshold achieves.

    Example:
        >>> advantage(np.array([0.9, 0.5, 0.1]), np.array([True, False, True]))
        0.5
    """
    mask = np.asarray(members, dtype=bool)
    if mask.all() or not mask.any() or np.isnan(scores).any():
        return NAN
    levels = np.unique(scores)
    mine, others = np.sort(scores[mask]), np.sort(scores[~mask])
    above = 1 - np.searchsorted(mine, levels) / len(mine)
    wrong = 1 - np.searchsorted(others, levels) / len(others)
    return float(max(0.0, (above - wrong).max()))


def _thinned(count: int) -> Array:
    if count <= POINTS:
        return np.arange(count)
    return np.unique(np.geomspace(1, count, POINTS).round().astype(np.int64)) - 1


def _percentiles(value: float, drawn: Array, count: int) -> Interval:
    if not np.isfinite(drawn).all() or len(drawn) < 2:
        return Interval(value, NAN, NAN, count)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high), count)
