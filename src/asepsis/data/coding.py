"""Small helpers that data sets share: codes for names, numbers for text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asepsis.core.samples import Array


def codes(values: Array) -> NDArray[np.int64]:
    """Number the distinct values in sorted order.

    Example:
        >>> codes(np.array(["b", "a", "b"])).tolist()
        [1, 0, 1]
    """
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def texts(values: Array) -> tuple[str, ...]:
    """Return an array of names as a tuple."""
    return tuple(str(value) for value in values)


def one_hot(values: Array, levels: tuple[str, ...]) -> NDArray[np.float32]:
    """Return one column per level; values that are no level give zeros.

    Example:
        >>> one_hot(np.array(["a", "b", "x"]), ("a", "b")).tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    return np.asarray(values.astype(str)[:, None] == np.array(levels), np.float32)
