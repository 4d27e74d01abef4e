"""Nearest neighbors among many feature vectors, a block of distances at a time.

Samples are ``[n, f]`` and finite; everything is float64. Distances are expanded squares of centered
samples; those that are returned are computed again from differences, so that a copy is at
distance 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from asepsis.core.robust_math import one_blas_thread
from asepsis.core.samples import Array

Floats = NDArray[np.float64]

HELD = 1 << 21
"""At most so many distances are held at once."""
SLACK = 1e-9
"""Squared distances that differ by so small a share are equal."""


def wide(samples: Array) -> Floats:
    """Return samples as one float64 row each.

    Example:
        >>> wide(np.zeros((2, 3, 4), np.float32)).shape
        (2, 12)
    """
    return np.asarray(samples, dtype=np.float64).reshape(len(samples), -1)


def rows_at_once(columns: int) -> int:
    """Return how many rows of a matrix with so many columns are held at once.

    Example:
        >>> rows_at_once(2048)
        1024
    """
    return max(1, HELD // max(1, columns))


def squared_distances(samples: Array, pool: Array) -> Iterator[tuple[slice, Floats]]:
    """Yield blocks of rows of the squared Euclidean distances ``[n, m]``, and which rows they are.

    Example:
        >>> [(where, block)] = squared_distances(np.array([[0.0], [3.0]]), np.array([[1.0]]))
        >>> block.tolist()
        [[1.0], [4.0]]
    """
    center = wide(pool).mean(axis=0)
    left, right = wide(samples) - center, wide(pool) - center
    own, others = (left**2).sum(axis=1), (right**2).sum(axis=1)
    step = rows_at_once(len(pool))
    with one_blas_thread():
        for start in range(0, len(left), step):
            where = slice(start, min(start + step, len(left)))
            block = left[where] @ right.T
            block *= -2
            block += own[where, None]
            block += others
            yield where, np.maximum(block, 0.0, out=block)


def neighbor_distances(samples: Array, pool: Array, k: int = 1, *, itself: bool = False) -> Floats:
    """Return the distance of every sample to its k-th nearest in the pool, ``[n]``.

    NaN where the pool has fewer than ``k``.

    Args:
        samples: ``[n, ...]``.
        pool: ``[m, ...]``.
        k: which neighbor.
        itself: sample i is pool member i, which is not its own neighbor.

    Example:
        >>> neighbor_distances(np.array([[0.0], [4.0]]), np.array([[1.0], [9.0]])).tolist()
        [1.0, 3.0]
    """
    if len(pool) - itself < k:
        return np.full(len(samples), np.nan)
    left, right, found = wide(samples), wide(pool), np.empty(len(samples))
    for where, block in squared_distances(samples, pool):
        rows = np.arange(where.start, where.stop)
        if itself:
            block[rows - where.start, rows] = np.inf
        near = np.argpartition(block, k - 1, axis=1)[:, :k]
        gaps = (np.linalg.norm(right[near[:, i]] - left[where], axis=1) for i in range(k))
        found[where] = np.max(list(gaps), axis=0)
    return found


def covered(samples: Array, pool: Array, radii: Array) -> NDArray[np.bool_]:
    """Return which samples lie in a ball around a member of the pool, ``[n]``; edges belong to it.

    Example:
        >>> samples, pool = np.array([[0.5], [2.5]]), np.array([[0.0], [1.0]])
        >>> covered(samples, pool, np.array([0.1, 0.5])).tolist()
        [True, False]
    """
    reach, found = np.asarray(radii) ** 2 * (1 + SLACK), np.empty(len(samples), dtype=bool)
    for where, block in squared_distances(samples, pool):
        found[where] = (block <= reach).any(axis=1)
    return found


def mean_distance(samples: Array) -> float:
    """Return the mean Euclidean distance of two different samples; NaN below two.

    Example:
        >>> mean_distance(np.array([[0.0], [1.0], [3.0]]))
        2.0
    """
    n = len(samples)
    if n < 2:
        return float("nan")
    total = 0.0
    for where, block in squared_distances(samples, samples):
        rows = np.arange(where.start, where.stop)
        # What is left of a sample's distance to itself is rounding, which a root would enlarge.
        block[rows - where.start, rows] = 0.0
        total += float(np.sqrt(block, out=block).sum())
    return total / (n * (n - 1))
