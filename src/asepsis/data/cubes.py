"""Slices of volumes: three planes, the middle slice of each or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from asepsis.core.samples import Array

PLANES = ("axial", "coronal", "sagittal")
"""A volume ``[z, y, x]`` is cut along its axis 0, 1, 2; index 0 is up, front, the right side."""

Plane = Literal["axial", "coronal", "sagittal", "all"]
Slices = Literal["middle", "all"]


def planes_of(plane: Plane | None, slices: Slices = "middle") -> tuple[str, ...]:
    """Return the planes that an option means: left out, axial for single slices, else all.

    Example:
        >>> planes_of(None), planes_of("coronal", "all"), len(planes_of(None, "all"))
        (('axial',), ('coronal',), 3)
    """
    plane = plane or ("axial" if slices == "middle" else "all")
    return PLANES if plane == "all" else (plane,)


def positions(slices: Slices, side: int) -> Array:
    """Return which slices of a plane are taken.

    Example:
        >>> positions("middle", 8), positions("all", 3)
        (array([4]), array([0, 1, 2]))
    """
    return np.array([side // 2]) if slices == "middle" else np.arange(side)


def cut(volume: Array, planes: Sequence[str], where: Array) -> Array:
    """Return slices ``[planes × positions, side, side]`` of a cube, plane after plane.

    Example:
        >>> cut(np.arange(8).reshape(2, 2, 2), ("axial", "sagittal"), np.array([1])).tolist()
        [[[4, 5], [6, 7]], [[1, 3], [5, 7]]]
    """
    axes = [PLANES.index(plane) for plane in planes]
    return np.concatenate([np.moveaxis(volume, axis, 0)[where] for axis in axes])
