"""How much an inference attack knew: shares of diagnoses, counts of labels, hidden attributes.

Every figure has a baseline beside it that knows the public distribution and nothing else: leakage
is what exceeds it. NaN means not estimable.
"""

from __future__ import annotations

from math import prod

import numpy as np
from scipy.stats import rankdata

from asepsis.core.samples import Array

NAN = float("nan")
ENOUGH = 3
"""Fewer hospitals have no order worth comparing."""
BLOCK = 256
TINY = 1e-12
"""Keeps the logarithm of a copy's distance finite."""


def indicator(targets: Array, classes: int) -> Array:
    """Return which class, or which findings, each sample has: ``[n, classes]``, 0 or 1.

    Example:
        >>> indicator(np.array([1, 0]), 2).tolist(), indicator(np.array([[0, 1]]), 2).tolist()
        ([[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0]])
    """
    if targets.ndim == 2:
        return targets.astype(np.float64)
    made = np.zeros((len(targets), classes))
    made[np.arange(len(targets)), targets.astype(np.int64)] = 1.0
    return made


def share_errors(guesses: Array, truths: Array) -> Array:
    """Mean absolute error of shares ``[m, classes]``, one a hospital ``[m]``.

    Example:
        >>> share_errors(np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])).tolist()
        [0.25]
    """
    return np.asarray(np.abs(guesses - truths).mean(axis=1))


def rank_agreement(guesses: Array, truths: Array) -> float:
    """Spearman's rank correlation across hospitals, averaged over the classes that vary.

    NaN with fewer than :data:`ENOUGH` hospitals, and when no class varies in truth. A guess that
    does not vary orders nothing: its correlation is 0.

    Example:
        >>> rank_agreement(np.array([[0.1], [0.2], [0.9]]), np.array([[0.3], [0.4], [0.5]]))
        1.0
    """
    if len(truths) < ENOUGH:
        return NAN
    each = [
        _correlation(rankdata(guess), rankdata(truth))
        for guess, truth in zip(guesses.T, truths.T, strict=True)
        if np.ptp(truth) > 0
    ]
    return float(np.mean(each)) if each else NAN


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def apportioned(shares: Array, total: int) -> Array:
    """Round shares to whole counts that sum to ``total``, by largest remainders.

    Ties go to the lowest class. Shares need not sum to 1; nothing at all is shared equally.

    Example:
        >>> apportioned(np.array([0.5, 0.3, 0.2]), 4).tolist()
        [2, 1, 1]
    """
    known = np.clip(np.nan_to_num(shares), 0, None)
    known = known if known.sum() > 0 else np.ones_like(known)
    exact = np.round(known / known.sum() * total, 9)
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return np.asarray(counts)


def count_scores(guesses: Array, truths: Array) -> dict[str, float]:
    """Score counts of labels ``[m, classes]``, one row a hospital.

    ``exact`` is the share of hospitals whose counts are all right, ``count_error`` the mean
    absolute error of a count, ``presence`` the share of classes of which is rightly said whether
    they occur at all.

    Example:
        >>> count_scores(np.array([[2, 0]]), np.array([[1, 1]]))
        {'exact': 0.0, 'count_error': 1.0, 'presence': 0.5}
    """
    return {
        "exact": float((guesses == truths).all(axis=1).mean()),
        "count_error": float(np.abs(guesses - truths).mean()),
        "presence": float(((guesses > 0) == (truths > 0)).mean()),
    }


def drawn_counts(
    shares: Array, totals: Array, one_each: bool, draws: int, rng: np.random.Generator
) -> Array:
    """Draw what somebody would guess who knows only how frequent classes are.

    Args:
        shares: of each class, in public ``[classes]``.
        totals: labels of each hospital ``[m]``.
        one_each: a sample has exactly one class (multinomial); else any findings (binomial).
        draws: how many guesses.
        rng: the draws' generator.

    Returns:
        Counts ``[draws, m, classes]``.
    """
    if one_each:
        likely = np.asarray(shares, dtype=np.float64) / np.sum(shares)
        return np.stack([rng.multinomial(int(n), likely, size=draws) for n in totals], axis=1)
    chances = np.clip(shares, 0, 1)
    size = (draws, len(totals), len(shares))
    return np.asarray(rng.binomial(np.asarray(totals)[None, :, None], chances, size=size))


def nearest_distance(samples: Array, pool: Array) -> Array:
    """Euclidean distance of every sample ``[n, ...]`` to the nearest in ``pool`` ``[m, ...]``.

    Infinite where the pool is empty.

    Example:
        >>> nearest_distance(np.array([[0.0], [4.0]]), np.array([[1.0], [9.0]])).tolist()
        [1.0, 3.0]
    """
    width = prod(samples.shape[1:])
    left = samples.reshape(len(samples), width).astype(np.float64)
    right = pool.reshape(len(pool), width).astype(np.float64)
    best = np.full(len(left), np.inf)
    for start in range(0, len(right) if len(left) else 0, BLOCK):
        part = right[start : start + BLOCK]
        # Differences, not the expanded square: a copy of a sample must be at distance exactly 0.
        for i, one in enumerate(left):
            best[i] = min(best[i], float(np.sqrt(((part - one) ** 2).sum(axis=1)).min()))
    return best


def synthetic_membership(samples: Array, synthetic: Array, reference: Array | None) -> Array:
    """Score who a generator was trained on, from what it generated; higher is likelier a member.

    ``-d(x, synthetic)``, the distance to the nearest generated sample; with ``reference``, samples
    that no generator saw, ``log d(x, reference) - log d(x, synthetic)``: a sample that is close to
    everything tells nothing. Distances are Euclidean in the samples' own units.

    Source: Chen et al., GAN-Leaks, CCS 2020 (nearest generated sample; calibration); the ratio of
    distances: our own form of the calibration

    Fidelity: own

    Example:
        >>> seen, fakes, others = np.array([[0.0], [5.0]]), np.array([[0.1]]), np.array([[4.9]])
        >>> scores = synthetic_membership(seen, fakes, others)
        >>> bool(scores[0] > 0 > scores[1])
        True
    """
    far = None if reference is None else nearest_distance(samples, reference)
    return nearness(nearest_distance(samples, synthetic), far)


def nearness(near: Array, far: Array | None) -> Array:
    """Turn distances to generated samples and to a reference into membership scores.

    ``-near``, or ``log far - log near``; see :func:`synthetic_membership`.

    Example:
        >>> nearness(np.array([1.0]), np.array([np.e])).round(6).tolist()
        [1.0]
    """
    return -near if far is None else np.log(far + TINY) - np.log(near + TINY)
