"""Real images, and how far generated ones are from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Array, Shard
from asepsis.federation.generating.classifier import fitting
from asepsis.federation.generating.extractor import Extractor, set_aside
from asepsis.federation.generating.kept import FIGURES, digest, extractor_of, positions
from asepsis.federation.generating.memory import COMPARED
from asepsis.metrics.generation import (
    class_diversity,
    diversity,
    frechet_distance,
    kernel_distance,
    kernel_interval,
    precision_recall,
    spread_out,
)
from asepsis.metrics.intervals import Interval

COLLAPSED = 0.1
"""Generated images whose spread is below this share of the real ones' are nearly all one."""
FEWEST = 50
"""With fewer images that the extractor never saw, test images are compared with ones it knows."""
BLOCK = 256


@dataclass(frozen=True, eq=False)
class Reference:
    """Real images, and the eyes they are seen with; every comparison is of equal numbers.

    Attributes:
        real: test images, which generated ones are compared with.
        train: clean training images of all hospitals, as classifiers see them.
        groups: the patient of each ``[n]``.
        known: positions of those that an honest hospital trains its generator on.
        strangers: images ``[m, c, h, w]`` of validation patients, that nobody trains on.
        classes: how many classes.
        seed: of the extractor, and of all that is drawn here.
    """

    real: Shard
    train: Shard
    groups: Array
    known: Array
    strangers: Tensor
    classes: int
    seed: int

    @cached_property
    def trained(self) -> str:
        """What the training images are known by."""
        return digest(self.train.inputs, self.train.targets, positions(self.groups))

    @cached_property
    def tested(self) -> str:
        """What the test images are known by."""
        return digest(self.real.inputs, self.real.targets)

    @cached_property
    def extractor(self) -> Extractor:
        """The frozen classifier whose features are compared, trained when first used."""
        return extractor_of(self.trained, self.train, self.classes, self.seed, self.groups)

    @property
    def remembered(self) -> Tensor:
        """Images that a generator was trained on: as many as are compared, at even steps."""
        where = torch.from_numpy(spread_out(self.known, COMPARED))
        return self.train.inputs[where.to(self.train.inputs.device)]

    @cached_property
    def features(self) -> Array:
        """What the extractor sees in the held-out images ``[n, f]``."""
        return self.extractor.features(self.real.inputs)

    @cached_property
    def floors(self) -> dict[str, float]:
        """Distances of real from real: test images from as many of other patients."""
        again = self.extractor.features(self._others)
        real = spread_out(self.features, len(again))
        return {
            "kernel_floor": kernel_distance(real, again),
            "frechet_floor": frechet_distance(real, again),
        }

    @property
    def about_floors(self) -> str:
        """What is compared for the floors: what tables say beside them."""
        whole, size, others = len(self.real), len(self._others), self._unseen
        known = f"training images, which the extractor knows (only {others} others)"
        unknown = (
            "others of patients that the extractor never saw (in validation, "
            "or set aside in training)"
        )
        said = f"{size} test images against {size} {unknown if others >= FEWEST else known}"
        fewer = f"; fewer than the {whole} behind distances, so that the Fréchet floor is too large"
        return said + (fewer if size < whole else "")

    @cached_property
    def _aside(self) -> Tensor:
        """Positions of the training images that the extractor set aside."""
        where = set_aside(len(self.train), self.seed, self.groups)[1]
        return where.to(self.train.inputs.device)

    @property
    def _unseen(self) -> int:
        """How many images there are that are neither test images nor known to the extractor."""
        return len(self.strangers) + len(self._aside)

    @cached_property
    def _others(self) -> Tensor:
        """Real images in random order, at most as many as test images, as classifiers see them.

        Of patients that the extractor never saw, if there are enough.
        """
        if self._unseen < FEWEST:
            rng = Streams(self.seed).at(Draw.GENERATE, 1)
            return drawn(self.train.inputs, len(self.real), rng)
        pool = torch.cat([fitting(self.strangers), self.train.inputs[self._aside]])
        return drawn(pool, len(self.real), Streams(self.seed).at(Draw.GENERATE, 2))

    def figures(self, images: Tensor, *, labeled: bool = False) -> dict[str, float]:
        """Compare as many generated images ``[n, c, h, w]``; ``unanswered`` are no numbers.

        ``labeled``: each was made of the class of the real image beside it. A generator that
        makes one image of each class has collapsed as well.
        """
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
        }
        if labeled:
            within = class_diversity(self.features, seen, self.real.targets.cpu().numpy())
            found["class_diversity"] = within
            spread = within if within < spread else spread
        found["collapsed"] = float(spread < COLLAPSED)
        missing = float(1 - known.float().mean())
        return {**found, "unanswered": missing} if missing else found

    def gaussian(self) -> dict[str, float]:
        """Compare images that need no network: drawn from a normal distribution, kept in [-1, 1].

        Its mean and covariance are those of the training images: ``mean + sum_i w_i (x_i - mean) /
        sqrt(n)``, w standard normal.
        """
        key = "gaussian", self.trained, self.tested, digest(self.strangers), self.classes, self.seed
        return dict(FIGURES.get(key, lambda: self.figures(self._normal())))

    def _normal(self) -> Tensor:
        """Draw as many images as there are test images, training image by training image."""
        train, rng = self.train.inputs, Streams(self.seed).at(Draw.GENERATE)
        made = train.new_zeros(len(self.real), train[0].numel())
        shares = train.new_zeros(len(self.real), 1)
        for block in torch.split(train, BLOCK):
            weights = rng.standard_normal((len(made), len(block)), dtype=np.float32)
            steps = torch.from_numpy(weights).to(train.device) / len(train) ** 0.5
            made.addmm_(steps, block.flatten(1))
            shares += steps.sum(1, keepdim=True)
        made += (1 - shares) * train.mean(0).view(1, -1)
        return made.clamp_(-1, 1).view(-1, *train.shape[1:])

    def interval(self, images: Tensor, groups: Array, rng: np.random.Generator) -> Interval:
        """Return the kernel distance and its 95 % interval over patients, who are ``groups``."""
        seen = self.extractor.features(images.nan_to_num(0.0, 0.0, 0.0))
        return kernel_interval(self.features, seen, rng, groups)

    def distance(self, images: Tensor, among: Array) -> float:
        """Return the kernel distance of some real images from those of their own classes.

        Image i was made of the class of real image i; ``among`` are positions.
        """
        chosen = images[torch.from_numpy(among).to(images.device)]
        seen = self.extractor.features(chosen.nan_to_num(0.0, 0.0, 0.0))
        return kernel_distance(self.features[among], seen)


def drawn(images: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return so many images in random order, drawn without replacement; all if no more."""
    where = torch.from_numpy(rng.permutation(len(images))[:count])
    return images[where.to(images.device)]
