"""From a box of voxels to a cube: padded, and averaged over boxes of equal sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from asepsis.core.samples import Array

Spacing = NDArray[np.float64]


def to_cube(values: Array, spacing: Spacing, size: int, fill: float) -> NDArray[np.float32]:
    """Return ``[size, size, size]``: the box in the middle of a cube as long as its longest side.

    Every new voxel is the mean over its box of the old ones, ``fill`` beyond their edges. The
    cube is one of millimeters: its voxels have equal sides, whatever ``spacing`` was.

    Example:
        >>> slab = np.full((1, 2, 2), 6, np.float32)
        >>> to_cube(slab, np.array([1.0, 1.0, 1.0]), 2, fill=0)[:, 0, 0].tolist()
        [3.0, 3.0]
    """
    longest = side_of(values.shape, spacing)
    made = np.asarray(values, np.float32) - np.float32(fill)
    for axis in range(3):
        weights = _weights(made.shape[axis], longest / spacing[axis], size)
        moved = np.moveaxis(made, axis, 0)
        flat = weights @ np.ascontiguousarray(moved).reshape(len(moved), -1)
        made = np.moveaxis(flat.reshape(size, *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(made) + np.float32(fill)


def side_of(shape: tuple[int, ...], spacing: Spacing) -> float:
    """Return the longest side of a box in millimeters."""
    return float((np.array(shape) * spacing).max())


def _weights(voxels: int, length: float, size: int) -> csr_array:
    """How much of each old voxel lies in each new one, as shares of a new one ``[size, voxels]``.

    ``length`` is the cube's side in old voxels.
    """
    edges = (voxels - length) / 2 + length * np.arange(size + 1) / size
    low = np.maximum(edges[:-1, None], np.arange(voxels))
    high = np.minimum(edges[1:, None], np.arange(1, voxels + 1))
    shares = np.maximum(high - low, 0) * (size / length)
    return csr_array(shares.astype(np.float32))


def box_of(mask: Array) -> tuple[slice, ...]:
    """Return the smallest box that holds a mask which is not empty.

    Example:
        >>> box_of(np.array([[False, True], [False, True]]))
        (slice(0, 2, None), slice(1, 2, None))
    """
    slices = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        found = np.flatnonzero(mask.any(axis=others))
        slices.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(slices)
