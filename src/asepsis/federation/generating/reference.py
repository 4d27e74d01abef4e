"""Real images, and how far generated ones are from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from asepsis.core.samples import Array, Shard
from asepsis.federation.generating.extractor import Extractor
from asepsis.federation.generating.kept import Content, extractor_of
from asepsis.metrics.generation import (
    diversity,
    frechet_distance,
    kernel_distance,
    kernel_interval,
    precision_recall,
)
from asepsis.metrics.intervals import Interval

COLLAPSED = 0.1
"""Generated images whose spread is below this share of the real ones' are nearly all one."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Held-out real images, as many of the training images, and the eyes they are seen with.

    ``seed`` is the extractor's. Every comparison is of equal numbers.
    """

    real: Shard
    train: Shard
    again: Tensor
    classes: int
    seed: int

    @cached_property
    def extractor(self) -> Extractor:
        """The frozen classifier whose features are compared, trained when first used."""
        content = Content.of(self.train.inputs, self.train.targets)
        return extractor_of(content, self.classes, self.seed)

    @cached_property
    def features(self) -> Array:
        """What the extractor sees in the held-out images ``[n, f]``."""
        return self.extractor.features(self.real.inputs)

    @cached_property
    def floors(self) -> dict[str, float]:
        """Distances of real from real: held-out from training images."""
        again = self.extractor.features(self.again)
        return {
            "kernel_floor": kernel_distance(self.features, again),
            "frechet_floor": frechet_distance(self.features, again),
        }

    def figures(self, images: Tensor) -> dict[str, float]:
        """Compare as many generated images ``[n, c, h, w]``; ``unanswered`` are no numbers."""
        known = torch.isfinite(images).flatten(1).all(1)
        seen = self.extractor.features(torch.where(known.view(-1, 1, 1, 1), images, 0.0))
        precision, recall = precision_recall(self.features, seen)
        spread = diversity(self.features, seen)
        found = {
            "kernel_distance": kernel_distance(self.features, seen),
            "frechet_distance": frechet_distance(self.features, seen),
            **self.floors,
            "precision": precision,
            "recall": recall,
            "diversity": spread,
            "collapsed": float(spread < COLLAPSED),
        }
        missing = float(1 - known.float().mean())
        return {**found, "unanswered": missing} if missing else found

    def gaussian(self, rng: np.random.Generator) -> dict[str, float]:
        """Compare images that need no network: drawn from a normal distribution, kept in [-1, 1].

        Its mean and covariance are those of the training images: ``mean + sum_i w_i (x_i - mean) /
        sqrt(n)``, w standard normal.
        """
        train = self.train.inputs
        drawn = rng.standard_normal((len(self.real), len(train)), dtype=np.float32)
        weights = torch.from_numpy(drawn).to(train.device) / len(train) ** 0.5
        mean = train.mean(0, keepdim=True)
        spread = weights @ (train - mean).flatten(1)
        return self.figures((mean + spread.view(-1, *train.shape[1:])).clamp(-1, 1))

    def interval(self, images: Tensor, groups: Array, rng: np.random.Generator) -> Interval:
        """Return the kernel distance and its 95 % interval over patients, who are ``groups``."""
        seen = self.extractor.features(images.nan_to_num(0.0, 0.0, 0.0))
        return kernel_interval(self.features, seen, rng, groups)

    def distance(self, images: Tensor, among: Array) -> float:
        """Return the kernel distance from some of the real images, by index, of as many others."""
        seen = self.extractor.features(images[: len(among)].nan_to_num(0.0, 0.0, 0.0))
        return kernel_distance(self.features[among], seen)


def drawn(shard: Shard, count: int, rng: np.random.Generator) -> Shard:
    """Return so many samples, drawn without replacement; all when there are no more."""
    where = torch.from_numpy(rng.permutation(len(shard))[:count]).to(shard.inputs.device)
    return Shard(shard.inputs[where], shard.targets[where])
