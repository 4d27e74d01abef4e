"""The stated feature extractor: a frozen classifier of the real training images."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asepsis.core.samples import Array, Shard
from asepsis.federation.generating.classifier import (
    fit,
    fitting,
    outputs,
    parted,
    probabilities,
    small_classifier,
)
from asepsis.metrics.utility import classification_metrics
from asepsis.tasks.single_label import moments

STEPS = 300
HELD_OUT = 0.2


class Layers(nn.Module):
    """The mean of every map after each ReLU, then the body's own outputs, ``[n, f]``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[n, f]``."""
        values, found = images, []
        for layer in self.body.children():
            values = layer(values)
            if isinstance(layer, nn.ReLU):
                found.append(values.flatten(2).mean(dim=2))
        return torch.cat([*found, values], dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class Extractor:
    """Features of images from all layers of a small classifier, standardized.

    The mean of every map of its three convolutions and the 64 values before its head (before their
    ReLU), 176 in all: the last layer alone keeps what tells the classes apart and misses blur and
    noise.

    Attributes:
        layers: from images to features, frozen.
        mean: of every feature over the real training images ``[f]``.
        std: likewise; 1 where a feature is constant.
        balanced_accuracy: of the classifier on held-out real images; NaN when there were none.
        tested: how many images that was.
    """

    layers: nn.Module
    mean: Array
    std: Array
    balanced_accuracy: float
    tested: int

    name: ClassVar[str] = "small classifier trained on the real training images (seeded)"

    @property
    def about(self) -> str:
        """What it is, and how good a classifier: what tables say under a distance."""
        if not isfinite(self.balanced_accuracy):
            return f"{self.name}, not tested"
        score = f"balanced accuracy {self.balanced_accuracy:.2f}"
        return f"{self.name}, {score} on {self.tested} held-out real images"

    @torch.no_grad()
    def features(self, images: Tensor) -> NDArray[np.float64]:
        """Return features ``[n, f]`` of prepared images ``[n, c, h, w]``.

        An image that is no number has features that are none.
        """
        found = outputs(self.layers, fitting(images)).double().cpu().numpy()
        return np.asarray((found - self.mean) / self.std)


def trained_extractor(
    train: Shard,
    classes: int,
    seed: int,
    held_out: Shard | None = None,
    groups: Array | None = None,
) -> Extractor:
    """Train the extractor on prepared real images; the same seed gives the same features.

    300 steps of Adam (batches of 64, learning rate 0.001), however many images there are; classes
    weigh the same; images larger than 64 pixels are averaged down.

    Args:
        train: prepared images ``[n, c, h, w]`` and classes ``[n]``.
        classes: how many classes.
        seed: of the initial weights, the batches and the held-out images.
        held_out: real images to test the classifier with. Left out: those of a fifth of the
            patients in ``train``, which it is then not trained on.
        groups: the patient of every image in ``train`` ``[n]``. Left out: every image is one.

    Raises:
        ConfigError: no images, or images smaller than 8×8.
    """
    train = Shard(fitting(train.inputs), train.targets)
    if held_out is None:
        parts = set_aside(len(train), seed, groups)
        train, held_out = (_taken(train, part) for part in parts)
    module = small_classifier(tuple(train.inputs.shape[1:]), classes, seed)
    fit(module, train, classes, seed, steps=STEPS)
    layers = Layers(module[0])
    found = outputs(layers, train.inputs).double().cpu().numpy()
    return Extractor(layers, *moments([found]), *_tested(module, held_out))


def set_aside(count: int, seed: int, groups: Array | None = None) -> tuple[Tensor, Tensor]:
    """Return which training images the extractor learns from, and which it never sees."""
    return parted(count, HELD_OUT, seed, groups)


def _taken(shard: Shard, where: Tensor) -> Shard:
    where = where.to(shard.inputs.device)
    return Shard(fitting(shard.inputs[where]), shard.targets[where])


def _tested(module: nn.Module, held_out: Shard) -> tuple[float, int]:
    if not len(held_out):
        return float("nan"), 0
    guesses = probabilities(module, fitting(held_out.inputs))
    scores = classification_metrics(guesses, held_out.targets.cpu().numpy())
    return scores["balanced_accuracy"], len(held_out)
