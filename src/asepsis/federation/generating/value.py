"""What the images of a finished generator are worth, and what they give away."""

from __future__ import annotations

from dataclasses import dataclass

from asepsis.core.samples import Shard
from asepsis.federation.generating.downstream import worth
from asepsis.federation.generating.kept import Content, joined_shards, worth_of_real
from asepsis.federation.generating.memory import memory
from asepsis.federation.generating.noise import Noise
from asepsis.federation.generating.reference import Reference
from asepsis.models.gan import Synthesizer

MOST = 5000
"""At most so many images are generated for a classifier."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """Judges a finished generator by classifiers, and by how near it comes to what it has seen."""

    reference: Reference
    noise: Noise

    def figures(self, generator: Synthesizer) -> dict[str, float]:
        """Return ``downstream/TRAINED_ON/FIGURE`` and ``memorization/FIGURE``.

        Classifiers are trained on ``real`` training images, on as many ``synthetic`` ones of the
        same classes, or on ``both``, and scored on held-out real images. A generator without
        classes has no labels to train on: no downstream figures.
        """
        found = self._downstream(generator) if generator.classes else {}
        return found | {f"memorization/{name}": v for name, v in self._memory(generator).items()}

    def _downstream(self, generator: Synthesizer) -> dict[str, float]:
        reference = self.reference
        train, test = reference.train, reference.real
        targets = train.targets[:: max(1, -(-len(train) // MOST))]
        images = self.noise.images(generator, targets).nan_to_num(0.0, 0.0, 0.0)
        made = Shard(images, targets)
        terms = reference.classes, reference.seed
        real = worth_of_real(
            Content.of(train.inputs, train.targets), Content.of(test.inputs, test.targets), *terms
        )
        scores = {
            "real": dict(real),
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
            reference.train.inputs,
            reference.real.inputs,
        )
