"""How much of its training images a generator gives away."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from asepsis.core.samples import Array
from asepsis.federation.generating.classifier import fitting
from asepsis.federation.generating.extractor import Extractor
from asepsis.metrics.generation import memorized, nearest_neighbor_ratio

PIXELS = 32
"""Images are averaged down to at most so many pixels a side before their pixels are compared."""
COMPARED = 5000
"""At most so many images of a kind are compared, at even steps."""
FIGURES = {"nn_ratio": nearest_neighbor_ratio, "memorized": memorized}
SPACES = ("", "_pixels")
NAMES = tuple(f"{name}{space}" for name in FIGURES for space in SPACES)


def memory(extractor: Extractor, fake: Tensor, train: Tensor, held_out: Tensor) -> dict[str, float]:
    """Compare generated images with those trained on and with those never seen.

    Returns ``nn_ratio`` (:func:`~asepsis.metrics.generation.nearest_neighbor_ratio`) and
    ``memorized`` (:func:`~asepsis.metrics.generation.memorized`, quantile 0.05) in the extractor's
    features, and the same with ``_pixels`` of the images themselves, averaged down to 32×32. The
    extractor knows the training images too, pixels do not: read both.

    Args:
        extractor: the stated one.
        fake: generated images ``[n, c, h, w]``, prepared units.
        train: what the generator was trained on.
        held_out: real images that neither it nor the extractor saw.
    """
    parts = [_at_most(COMPARED, part) for part in (fake, train, held_out)]
    looks: tuple[Callable[[Tensor], Array], ...] = (extractor.features, _pixels)
    made = {}
    for space, look in zip(SPACES, looks, strict=True):
        generated, known, strange = (look(part) for part in parts)
        for name, figure in FIGURES.items():
            made[name + space] = figure(generated, known, strange)
    return made


def _at_most(count: int, images: Tensor) -> Tensor:
    size = min(count, len(images))
    return images[torch.arange(size, device=images.device) * len(images) // max(1, size)]


def _pixels(images: Tensor) -> Array:
    images = fitting(images)  # known ones are: what is averaged in two steps, all are
    height, width = (min(extent, PIXELS) for extent in images.shape[2:])
    small: Array = F.adaptive_avg_pool2d(images, (height, width)).double().cpu().numpy()
    return small
