"""A frozen extractor of image features, for distances between what images show."""

from __future__ import annotations

from functools import cache
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from asepsis.core.samples import Array

EXTRACTOR = "random-conv-3"
"""Three fixed random convolutions: nothing was trained, nothing is downloaded."""
WIDTHS = (16, 32, 64)
SMALLEST = 8
TINY = 1e-10


@torch.no_grad()
def feature_distance(one: Array, two: Array) -> Array:
    """Distance of images ``[n, c, h, w]`` in the features of :data:`EXTRACTOR`, ``[n]``.

    After each of three 3×3 convolutions (He-normal weights from a fixed seed, ReLU, mean pooling
    by 2) feature vectors are scaled to length 1 at every place; the squared distances are
    averaged over places, then over layers: 0 for equal images, at most 2. Random features keep
    edges and textures, not what a trained network would call meaning. NaN for images under 8×8.

    Example:
        >>> image = np.eye(16)[None, None]
        >>> feature_distance(image, image).tolist()
        [0.0]
    """
    if min(one.shape[-2:]) < SMALLEST:
        return np.full(len(one), np.nan)
    pairs = zip(_maps(one), _maps(two), strict=True)
    layers = [(x - y).square().sum(dim=1).flatten(1).mean(dim=1) for x, y in pairs]
    return np.asarray(torch.stack(layers).mean(dim=0).numpy())


def _maps(images: Array) -> list[Tensor]:
    values = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
    found = []
    for weight in _weights(values.shape[1]):
        values = F.avg_pool2d(F.relu(F.conv2d(values, weight, padding=1)), 2)
        found.append(values / (values.norm(dim=1, keepdim=True) + TINY))
    return found


@cache
def _weights(channels: int) -> tuple[Tensor, ...]:
    rng = np.random.Generator(np.random.Philox(0))
    made = []
    for before, after in zip((channels, *WIDTHS), WIDTHS, strict=False):
        shape = (after, before, 3, 3)
        values = rng.standard_normal(shape, dtype=np.float32) * (2 / prod(shape[1:])) ** 0.5
        made.append(torch.from_numpy(values))
    return tuple(made)
