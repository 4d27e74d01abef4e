"""Saliency over the image that it explains: where the evidence lies, seen at one glance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from asepsis.core.samples import Array

IMAGES, MAP = "inspected", "map of "
GLOW = np.array([255.0, 110.0, 0.0])
STRENGTH = 0.75
"""How much of the image the strongest evidence covers."""


def overlays(tensors: Mapping[str, Tensor]) -> dict[str, list[Array]]:
    """Lay every saliency map over its images, as uint8 pixels ``[h, w, 3]``.

    Args:
        tensors: what was kept of a run: images ``inspected`` and maps ``map of NAME``, both
            ``[n, c, h, w]`` in [-1, 1]. Maps of another size than the images are left out.
    """
    images = tensors.get(IMAGES)
    if images is None or images.ndim != 4:
        return {}
    return {
        f"{name.removeprefix(MAP)} over the image": [
            overlay(image, heat)
            for image, heat in zip(_unit(images), _unit(maps)[:, 0], strict=False)
        ]
        for name, maps in tensors.items()
        if name.startswith(MAP) and maps.ndim == 4 and maps.shape[2:] == images.shape[2:]
    }


def _unit(values: Tensor) -> Array:
    return np.clip(np.nan_to_num(values.float().numpy() / 2 + 0.5), 0.0, 1.0)


def overlay(image: Array, heat: Array) -> Array:
    """Blend one image ``[c, h, w]`` with evidence ``[h, w]``, both in [0, 1].

    Example:
        >>> overlay(np.ones((1, 1, 2)), np.array([[0.0, 1.0]])).tolist()
        [[[255, 255, 255], [255, 146, 64]]]
    """
    color = 255 * np.moveaxis(image, 0, -1)
    color = color if color.shape[-1] == 3 else np.repeat(color[..., :1], 3, axis=-1)
    weight = STRENGTH * heat[..., None]
    return np.asarray(np.round((1 - weight) * color + weight * GLOW), dtype=np.uint8)
