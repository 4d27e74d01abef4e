"""How close generated images are to real ones, how varied, and how much they only copy.

Samples are features ``[n, f]`` of a stated extractor (or pixels, ``[n, ...]``), standardized by the
real data. A figure is NaN where it cannot be estimated: too few samples, or one that is no number.
Real and generated samples should be equally many; the same figure of real against other real
samples is its floor.
"""

from __future__ import annotations

import numpy as np

from asepsis.core.robust_math import one_blas_thread
from asepsis.core.samples import Array
from asepsis.metrics.intervals import Interval
from asepsis.metrics.membership import patient_weights
from asepsis.metrics.neighbors import (
    Floats,
    covered,
    mean_distance,
    neighbor_distances,
    rows_at_once,
    wide,
)

NAN = float("nan")
NEIGHBORS = 3
QUANTILE = 0.05
FEWEST = 10
"""A class with fewer samples has no spread of its own."""


def kernel_distance(real: Array, fake: Array) -> float:
    """Unbiased squared maximum mean discrepancy with the cubic polynomial kernel.

    ``mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)`` with
    ``k(x, y) = (x.y / f + 1)^3``. Unbiased: of two draws from one distribution it is 0 on average
    and therefore often negative.

    Source: Binkowski et al., Demystifying MMD GANs, ICLR 2018, section 4

    Args:
        real: features ``[n, f]``, at least two.
        fake: features ``[m, f]``, at least two.

    Example:
        >>> kernel_distance(np.array([[0.0], [0.0]]), np.array([[1.0], [1.0]]))
        7.0
    """
    if not _usable(real, fake):
        return NAN
    return float(_discrepancies(real, fake, np.ones((1, len(real))), np.ones((1, len(fake))))[0])


def kernel_interval(
    real: Array,
    fake: Array,
    rng: np.random.Generator,
    groups: Array | None = None,
    draws: int = 200,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of :func:`kernel_distance` over images, real and generated drawn apart.

    A sample that is drawn twice is never paired with itself, so that draws are centered at the
    distance. Where that is 0 the interval is only a rough one: use seeds to claim a difference.

    Args:
        real: features ``[n, f]``.
        fake: features ``[m, f]``.
        rng: the draws' generator.
        groups: patient of every real image ``[n]``; whole patients are drawn. Left out: images.
        draws: number of bootstrap samples.
        level: confidence level.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(40, 3))
        >>> found = kernel_interval(x, x + 1, np.random.default_rng(1))
        >>> found.low < found.mean < found.high
        True
    """
    n, value = len(real), kernel_distance(real, fake)
    if not np.isfinite(value):
        return Interval(value, NAN, NAN, n)
    who = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    everyone = np.concatenate([who, np.arange(len(fake))])
    weights = patient_weights(everyone, np.arange(len(everyone)) < n, rng, draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = _discrepancies(real, fake, weights[:, :n], weights[:, n:])
    bounds = np.nanquantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(bounds[0]), float(bounds[1]), n)


def frechet_distance(real: Array, fake: Array) -> float:
    """Fréchet distance of two normal distributions with the samples' moments.

    ``|a - b|^2 + tr(A + B - 2 (A^(1/2) B A^(1/2))^(1/2))`` with means a, b and covariances A, B
    (ddof 1); roots by eigenvalues, negative ones (rounding) taken as 0. With fewer samples than
    features the covariances are singular: the figure is still defined, but too large by an amount
    that depends on the numbers of samples. Read it beside its floor at the same numbers only.

    Source: Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017, section 2;
    Dowson and Landau, J. Multivariate Analysis 1982 (the closed form)

    Example:
        >>> x = np.array([[-1.0], [0.0], [1.0]])
        >>> round(frechet_distance(x, 2 * x + 3), 9)  # (0 - 3)^2 + (1 - 2)^2
        10.0
    """
    if not _usable(real, fake):
        return NAN
    with one_blas_thread():
        gap = wide(real).mean(axis=0) - wide(fake).mean(axis=0)
        one, two = _covariance(real), _covariance(fake)
        root = _root(one)
        shared = np.sqrt(_spectrum(root @ two @ root)).sum()
        return float(gap @ gap + np.trace(one) + np.trace(two) - 2 * shared)


def precision_recall(real: Array, fake: Array, k: int = NEIGHBORS) -> tuple[float, float]:
    """Share of generated samples among the real ones (quality), and the reverse (coverage).

    A sample is among others when it lies in a ball around one of them that reaches to that one's
    k-th nearest neighbor.

    Source: Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing Generative
    Models, NeurIPS 2019, section 2

    Example:
        >>> line = np.arange(9.0)[:, None]
        >>> precision_recall(line, np.full((9, 1), 4.2))
        (1.0, 0.0)
    """
    if not _usable(real, fake) or min(len(real), len(fake)) <= k:
        return NAN, NAN
    reach, reached = (neighbor_distances(x, x, k, itself=True) for x in (real, fake))
    precision, recall = covered(fake, real, reach), covered(real, fake, reached)
    return float(precision.mean()), float(recall.mean())


def diversity(real: Array, fake: Array) -> float:
    """Mean distance of two generated samples over that of two real ones: 1 as varied, 0 one image.

    Example:
        >>> diversity(np.array([[0.0], [2.0]]), np.array([[5.0], [6.0]]))
        0.5
    """
    if not _usable(real, fake):
        return NAN
    spread = mean_distance(real)
    return mean_distance(fake) / spread if spread > 0 else NAN


def class_diversity(real: Array, fake: Array, labels: Array) -> float:
    """Smallest :data:`diversity` within a class: 0 where all samples of one class are the same.

    Over classes of at least ten samples; NaN without any. Spread between the classes does not
    count.

    Args:
        real: features ``[n, f]``.
        fake: features ``[n, f]``, each made of the class of the real sample beside it.
        labels: the classes ``[n]``.

    Example:
        >>> one, two = np.arange(10.0)[:, None], np.full((10, 1), 7.0)
        >>> class_diversity(np.vstack([one, one]), np.vstack([one, two]), np.repeat([0, 1], 10))
        0.0
    """
    where = [labels == label for label in np.unique(labels)]
    found = [diversity(real[own], fake[own]) for own in where if own.sum() >= FEWEST]
    return float(np.nanmin(found)) if not np.isnan(found).all() else NAN


def nearest_neighbor_ratio(fake: Array, train: Array, held_out: Array) -> float:
    """Median over generated samples of (distance to the nearest training sample / held-out one).

    1: no more like the training data than like strangers; below 1 it leans on what it was trained
    on; 0: copies. Equally many of both are compared, since the nearest of many is nearer: of the
    longer list samples at even steps. What was copied from those left out is not seen: read it
    beside :func:`memorized`, which uses all. Where a sample equals both, the ratio is 1.

    Args:
        fake: generated samples ``[n, ...]``.
        train: samples that the generator was trained on.
        held_out: samples of the same kind that it never saw.

    Example:
        >>> train, strangers = np.array([[0.0], [8.0]]), np.array([[4.0], [12.0]])
        >>> nearest_neighbor_ratio(np.array([[0.0], [8.0]]), train, strangers)
        0.0
    """
    if not (len(fake) and len(train) and len(held_out) and _finite(fake, train, held_out)):
        return NAN
    size = min(len(train), len(held_out))
    near, far = (neighbor_distances(fake, spread_out(pool, size)) for pool in (train, held_out))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.median(np.where((near == 0) & (far == 0), 1.0, near / far)))


def memorized(fake: Array, train: Array, held_out: Array, quantile: float = QUANTILE) -> float:
    """Share of generated samples that are nearer to a training sample than strangers are.

    Nearer than the ``quantile`` of the held-out samples' distances to their nearest training
    sample, or a copy of one. All training samples count, so that few copies are seen. Generated
    samples that are distributed like strangers give about ``quantile``.

    Source: our own form; a test by distances to the nearest training record is usual for synthetic
    records

    Example:
        >>> train, strangers = np.arange(10.0)[:, None], np.arange(10.0)[:, None] + 0.4
        >>> memorized(np.array([[3.1], [4.5]]), train, strangers)
        0.5
    """
    if not (len(fake) and len(train) and len(held_out) and _finite(fake, train, held_out)):
        return NAN
    usual = np.quantile(neighbor_distances(held_out, train), quantile, method="lower")
    near = neighbor_distances(fake, train)
    return float(((near < usual) | (near == 0)).mean())


def spread_out(samples: Array, size: int) -> Array:
    """Return ``size`` samples (or all, when there are no more) at even steps.

    Example:
        >>> spread_out(np.arange(10), 3).tolist()
        [0, 3, 6]
    """
    count = min(size, len(samples))
    return samples[np.arange(count) * len(samples) // max(1, count)]


def _discrepancies(real: Array, fake: Array, real_counts: Array, fake_counts: Array) -> Floats:
    """Return the unbiased distance for every row of sample counts, ``[draws]``."""
    with one_blas_thread():
        one = _mean_kernel(real, real, real_counts, real_counts, pairs=True)
        two = _mean_kernel(fake, fake, fake_counts, fake_counts, pairs=True)
        return one + two - 2 * _mean_kernel(real, fake, real_counts, fake_counts, pairs=False)


def _mean_kernel(x: Array, y: Array, left: Array, right: Array, *, pairs: bool) -> Floats:
    """Return the weighted mean kernel ``[draws]``; of pairs of different samples when asked."""
    a, b, total = wide(x), wide(y), np.zeros(len(left))
    for start in range(0, len(a), rows_at_once(len(b))):
        where = slice(start, start + rows_at_once(len(b)))
        total += ((left[:, where] @ _kernel(a[where] @ b.T / a.shape[1])) * right).sum(axis=1)
    count = left.sum(axis=1) * right.sum(axis=1)
    if pairs:
        total -= left**2 @ _kernel((a**2).mean(axis=1))
        count -= (left**2).sum(axis=1)
    return np.asarray(total / count)


def _kernel(products: Floats) -> Floats:
    shifted = products + 1
    return shifted * shifted * shifted


def _covariance(samples: Array) -> Floats:
    return np.atleast_2d(np.cov(wide(samples), rowvar=False))


def _spectrum(matrix: Floats) -> Floats:
    return np.asarray(np.maximum(np.linalg.eigvalsh((matrix + matrix.T) / 2), 0.0))


def _root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)


def _usable(*parts: Array) -> bool:
    return min(map(len, parts)) >= 2 and _finite(*parts)


def _finite(*parts: Array) -> bool:
    return all(bool(np.isfinite(part).all()) for part in parts)
