"""Reconstructions beside the truth, and beside what one guesses without any gradient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from asepsis.core.samples import Array
from asepsis.metrics.features import feature_distance
from asepsis.metrics.leakage import HOPELESS, RADIUS, mse, psnr, ssim
from asepsis.metrics.translation import figures

DATA_RANGE = 2.0
"""Prepared pixels lie in [-1, 1]."""
SUCCESS_DB = 25.0
"""An image is reconstructed above this peak signal-to-noise ratio."""
SUCCESS_MSE = 0.01
"""A table or signal is, below this error: a tenth of a standard deviation."""
CAP_DB = 100.0
"""Equal images have no finite ratio; this is what float32 pixels cannot exceed by much."""
BLOCK = 256
DRAWS = 200
"""So often chance is tried."""

Values = dict[str, NDArray[np.float64]]
Pairs = tuple[Array, Array]
"""Places of guesses, and of the true inputs that they belong to: see :func:`.leakage.match`."""


def each(guesses: Array, truths: Array) -> Values:
    """Score guesses beside the truths of the same place, ``[k]`` each.

    ``mse`` and ``success`` always; of images (``[k, c, h, w]`` and volumes, in [-1, 1]) ``psnr``
    (dB, range 2, at most 100) and ``ssim`` (NaN under 11×11 pixels), of flat ones ``features``, the
    distance of :func:`asepsis.metrics.features.feature_distance`. A success has more than 25 dB,
    or, where there are no pixels, a mean squared error below 0.01 in standard deviations.

    Example:
        >>> each(np.zeros((1, 1, 4, 4)), np.full((1, 1, 4, 4), 0.2))["psnr"].round(6)
        array([20.])
    """
    pairs = list(zip(np.nan_to_num(guesses), truths, strict=True))
    errors = np.array([mse(*pair) for pair in pairs])
    if truths.ndim < 4:
        return {"mse": errors, "success": _share(errors < SUCCESS_MSE)}
    decibels = np.array([min(psnr(*pair, DATA_RANGE), CAP_DB) for pair in pairs])
    fits = min(truths.shape[-2:]) > 2 * RADIUS
    alike = [ssim(*pair, DATA_RANGE) if fits else np.nan for pair in pairs]
    found = {"mse": errors, "psnr": decibels, "ssim": np.array(alike)}
    if truths.ndim == 4:
        found["features"] = feature_distance(np.nan_to_num(guesses), truths)
    return {**found, "success": _share(decibels > SUCCESS_DB)}


def inside(guesses: Array, truths: Array, mask: Array) -> Values:
    """Score images ``[k, 1, h, w]`` inside a mask ``[k, h, w]``: ``ssim``, ``mae``, ``psnr``."""
    found = figures(np.nan_to_num(guesses)[:, 0], truths[:, 0], mask)
    return {**found, "psnr": np.minimum(found["psnr"], CAP_DB)}


def distances(ones: Array, others: Array) -> NDArray[np.float64]:
    """Mean squared distance of every one to every other, ``[n, m]``; hopeless where not finite.

    Example:
        >>> distances(np.array([[0.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 2.0]])).tolist()
        [[1.0, 2.0]]
    """
    one = np.asarray(ones, np.float64).reshape(len(ones), -1)
    other = np.asarray(others, np.float64).reshape(len(others), -1)
    found = np.empty((len(one), len(other)))
    for i, row in enumerate(one):
        for start in range(0, len(other), BLOCK):
            block = other[start : start + BLOCK]
            found[i, start : start + BLOCK] = np.mean((block - row) ** 2, axis=1)
    return np.nan_to_num(found, nan=HOPELESS, posinf=HOPELESS)


def ranks(own: Array, others: Array) -> NDArray[np.float64]:
    """Rank distances ``[k]`` to true inputs among those to other candidates, ``[k, m]``.

    1 is the nearest, and ties count half: a reconstruction that says nothing has the middle rank.

    Example:
        >>> ranks(np.array([0.1, 3.0]), np.array([[1.0, 0.05], [3.0, 4.0]])).tolist()
        [2.0, 1.5]
    """
    nearer, ties = others < own[:, None], others == own[:, None]
    return np.asarray(1 + nearer.sum(axis=1) + ties.sum(axis=1) / 2, np.float64)


def reidentified(
    gaps: Array, used: int, pairs: Pairs, rng: np.random.Generator, costs: Array | None = None
) -> dict[str, float]:
    """Return how well guesses tell their true inputs from inputs that nobody trained on.

    ``gaps`` ``[b, used + m]`` are the distances of all guesses to the inputs used, and to m
    others. ``rank``, ``reciprocal_rank`` and ``top1`` are of each pair's true input among itself
    and the others (``candidates``). A guess is paired with what it matches best out of several,
    and so beats others by chance: ``chance/top1`` and ``chance/rank`` are what the same guesses
    would have if any ``used`` of all inputs had been the ones used, paired by the same rule over
    ``costs`` (``gaps``, when not given). ``excess/top1`` is what exceeds that; it takes the inputs
    used and the others to be of one kind.
    """
    costs = gaps if costs is None else costs
    mine, matched = pairs
    rank = ranks(gaps[mine, matched], gaps[mine, used:])
    drawn = [_by_chance(gaps, costs, used, rng) for _ in range(DRAWS)]
    top1, chance = float(np.mean(rank == 1)), float(np.mean([np.mean(one == 1) for one in drawn]))
    return {
        "rank": float(rank.mean()),
        "reciprocal_rank": float((1 / rank).mean()),
        "top1": top1,
        "chance/rank": float(np.mean([one.mean() for one in drawn])),
        "chance/top1": chance,
        "excess/top1": top1 - chance,
        "candidates": float(1 + gaps.shape[1] - used),
    }


def _by_chance(
    gaps: Array, costs: Array, used: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    order = rng.permutation(gaps.shape[1])
    truths, others = order[:used], order[used:]
    mine, matched = linear_sum_assignment(costs[:, truths])
    return ranks(gaps[mine, truths[matched]], gaps[np.ix_(mine, others)])


def prior_pairs(truths: Array, known: Array, count: int) -> dict[str, tuple[Array, Array]]:
    """Return ``count`` guesses made without a gradient, each with the input it is set beside.

    They are made of inputs ``known`` ``[m, ...]`` that one has anyway, and get the benefit of the
    doubt that guesses get: they are set beside those of all inputs used, ``truths``, that they
    come nearest to, each of which counts once. ``mean``: the mean. ``nearest``: the known inputs
    that are nearest to any used, which nobody could pick without knowing those: the most that
    owning such data explains.
    """
    mean = known.astype(np.float64).mean(axis=0).astype(truths.dtype)
    beside = np.argsort(distances(mean[None], truths)[0], kind="stable")[:count]
    gaps, places = _nearest(truths, known)
    best = np.argsort(gaps, kind="stable")[:count]
    return {
        "mean": (np.broadcast_to(mean, truths[beside].shape), truths[beside]),
        "nearest": (known[places[best]], truths[best]),
    }


def _nearest(ones: Array, others: Array) -> tuple[NDArray[np.float64], Array]:
    """Return every one's squared distance ``[n]`` to the nearest of the others, and its place."""
    one = np.asarray(ones, np.float64).reshape(len(ones), -1)
    other = np.asarray(others, np.float64).reshape(len(others), -1)
    lengths, gaps, places = (other**2).sum(axis=1), np.empty(len(one)), np.empty(len(one), np.int64)
    for start in range(0, len(one), BLOCK):
        part = slice(start, start + BLOCK)
        found = (one[part] ** 2).sum(axis=1)[:, None] - 2 * one[part] @ other.T + lengths
        gaps[part], places[part] = found.min(axis=1), found.argmin(axis=1)
    return gaps, places


def beside_priors(guesses: Array, truths: Array, known: Array, used: Array | None = None) -> Values:
    """Return figures of the priors (``prior/mean/psnr``) and the ``excess`` over the better one.

    Guesses ``[k, ...]`` are paired with ``truths``, the ones they match best out of all inputs
    ``used``; so are the priors, see :func:`prior_pairs`. Of images PSNR and SSIM; of anything else
    the mean squared error, by how much it is lower; of all the successes. The excess is over the
    better prior's mean.
    """
    mine = each(guesses, truths)
    pairs = prior_pairs(truths if used is None else used, known, len(truths))
    priors = {name: each(*pair) for name, pair in pairs.items()}
    found: Values = {}
    for figure in (*(("psnr", "ssim") if "psnr" in mine else ("mse",)), "success"):
        theirs = {name: values[figure] for name, values in priors.items()}
        found |= {f"prior/{name}/{figure}": values for name, values in theirs.items()}
        means = [values.mean() for values in theirs.values()]
        better = min(means) - mine[figure] if figure == "mse" else mine[figure] - max(means)
        found[f"excess/{figure}"] = better
    return found


def averaged(values: Values) -> dict[str, float]:
    """Return every figure's mean over those that have one.

    Example:
        >>> averaged({"psnr": np.array([10.0, np.nan, 30.0])})
        {'psnr': 20.0}
    """
    known = {name: part[~np.isnan(part)] for name, part in values.items()}
    return {name: float(part.mean()) if part.size else np.nan for name, part in known.items()}


def _share(hits: Array) -> NDArray[np.float64]:
    return np.asarray(hits, np.float64)
