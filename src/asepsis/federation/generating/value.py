"""What the images of a finished generator are worth, and what they give away."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Shard
from asepsis.federation.generating.classifier import fitting
from asepsis.federation.generating.downstream import worth
from asepsis.federation.generating.kept import FIGURES, digest, joined_shards, worth_of_real
from asepsis.federation.generating.memory import memory
from asepsis.federation.generating.noise import Noise
from asepsis.federation.generating.reference import Reference
from asepsis.models.gan import Synthesizer

MOST = 5000
"""At most so many images a classifier is trained on, of each kind."""


@dataclass(frozen=True, eq=False)
class Value:
    """Judges a finished generator by classifiers, and by how near it comes to what it has seen."""

    reference: Reference
    noise: Noise

    def figures(self, generator: Synthesizer) -> dict[str, float]:
        """Return ``downstream/TRAINED_ON/FIGURE`` and ``memorization/FIGURE``.

        Classifiers are trained on ``real`` training images, at most 5,000 drawn at random, on as
        many ``synthetic`` ones of the same classes, or on ``both``, and scored on held-out real
        images. A generator without classes has no labels to train on: no downstream figures.
        ``memorization/floor/FIGURE`` is the same of real images that nobody trained on.
        """
        found = self._downstream(generator) if generator.classes else {}
        given, floor = self._memory(generator), self._strangers()
        found |= {f"memorization/{name}": value for name, value in given.items()}
        return found | {f"memorization/floor/{name}": value for name, value in floor.items()}

    def terms(self, generator: Synthesizer) -> dict[str, Any]:
        """Return how many images a classifier learns from, and how many nobody trained on."""
        learned = {"downstream_images": len(self._lesson)} if generator.classes else {}
        return {**learned, "strangers": len(self.reference.strangers)}

    @cached_property
    def _lesson(self) -> Shard:
        """The real images that classifiers learn from, in their order."""
        train, rng = self.reference.train, Streams(self.reference.seed).at(Draw.WORTH)
        where = torch.from_numpy(np.sort(rng.permutation(len(train))[:MOST]))
        where = where.to(train.inputs.device)
        return Shard(train.inputs[where], train.targets[where])

    def _downstream(self, generator: Synthesizer) -> dict[str, float]:
        reference = self.reference
        train, test = self._lesson, reference.real
        images = self.noise.images(generator, train.targets).nan_to_num(0.0, 0.0, 0.0)
        made = Shard(fitting(images), train.targets)
        terms = reference.classes, reference.seed
        scores = {
            "real": worth_of_real(reference.trained + reference.tested, train, test, *terms),
            "synthetic": worth(made, test, *terms),
            "both": worth(joined_shards([train, made]), test, *terms),
        }
        return {
            f"downstream/{trained}/{name}": value
            for trained, figures in scores.items()
            for name, value in figures.items()
        }

    def _memory(self, generator: Synthesizer) -> dict[str, float]:
        reference = self.reference
        images = self.noise.images(generator, reference.real.targets)
        return memory(
            reference.extractor,
            images.nan_to_num(0.0, 0.0, 0.0),
            reference.remembered,
            reference.real.inputs,
        )

    def _strangers(self) -> dict[str, float]:
        """Return what real images give away that nobody trained on; nothing without any."""
        of, strangers = self.reference, self.reference.strangers
        if not len(strangers):
            return {}
        where = of.trained, of.tested, digest(torch.from_numpy(of.known), strangers)
        key = "strangers", *where, of.classes, of.seed
        look, real = of.extractor, of.real.inputs
        return dict(FIGURES.get(key, lambda: memory(look, strangers, of.remembered, real)))
