"""Membership from a released generator: whoever holds it generates, and looks who is near."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from asepsis.attacks.infer.synthetic_mia import synthetic_mia
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Kind, Shard
from asepsis.core.threat import Evidence, ReleaseView, Setting
from asepsis.models.gan import Gan, Synthesizer

CHUNK = 256
"""Images generated at a time."""


@register("attack", "generator-membership")
class GeneratorMembership:
    """Membership inference from what a released generator makes (GAN-Leaks, black box).

    The holder generates ``images`` images, of a conditional generator as many of each class, and
    compares every candidate ``x`` with those of its own class S and with public images of its
    class P (of all classes where there is none): ``log d(x, P) - log d(x, S)``, d being the
    distance to the nearest, Euclidean in prepared pixels; without public images ``-d(x, S)``. Of
    each class's scores their median is taken off: a generator is nearer to all images of one class
    than to all of another. Scores are averaged over ``draws`` such sets. A generator that
    remembers nobody makes images as near to others as to its members.

    Returns evidence ``scores`` ``[n]``: a released generator is everybody's. None without
    candidates, and where the generator has blown up.

    Raises ConfigError for a model that generates nothing.

    Source: Chen et al., GAN-Leaks, CCS 2020 (nearest generated sample; calibration); public images
    in place of a reference generator are ours

    Fidelity: own

    Tasks: image

    Example:
        >>> GeneratorMembership(images=64).draws
        1
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE})
    generates: ClassVar[bool] = True
    classifies: ClassVar[bool] = False

    images: Annotated[int, Field(ge=1, le=100_000)] = 512
    draws: Annotated[int, Field(ge=1, le=1000)] = 1

    def check(self, setting: Setting) -> None:
        """Refuse models that generate nothing."""
        _generator_of(setting.learner.copy(setting.row))

    def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence | None:
        """Generate, and score every candidate."""
        if view.candidates is None or not len(view.candidates):
            return None
        generator = _generator_of(view.learner.copy(view.row))
        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        found = [self._scores(view, view.candidates, generator, draws) for _ in range(self.draws)]
        scores = torch.stack(found).mean(dim=0)
        if not bool(scores.isfinite().all()):
            return None
        made = self.draws * self.images * max(1, generator.classes)
        return Evidence("membership", {"scores": scores}, measurements={"synthetic": float(made)})

    def _scores(
        self, view: ReleaseView, asked: Shard, generator: Synthesizer, draws: torch.Generator
    ) -> Tensor:
        """Return one set's scores ``[n]``."""
        scores = torch.zeros(len(asked), dtype=torch.float64)
        for label, mine in _classes(asked, generator.classes):
            made = _made(generator, self.images, label, draws)
            others = _beside(view.public, label)
            found = synthetic_mia(asked.inputs[mine], made, others).guesses["scores"]
            scores[mine] = found - found.median() if len(found) and generator.classes else found
        return scores


def _generator_of(module: nn.Module) -> Synthesizer:
    if isinstance(module, Gan):
        return module.generator
    raise ConfigError(
        "this attack asks a generator for images, and the model makes none",
        place="model",
        got=type(module).__name__,
        fix='set task = "generation"',
    )


def _classes(asked: Shard, classes: int) -> Iterator[tuple[int | None, Tensor]]:
    """Yield each class and where its candidates are; all at once where there are none."""
    if not classes:
        yield None, torch.arange(len(asked))
    for label in range(classes):
        yield label, torch.nonzero(asked.targets.cpu() == label).flatten()


@torch.no_grad()
def _made(generator: Synthesizer, count: int, label: int | None, draws: torch.Generator) -> Tensor:
    blocks = torch.split(generator.noise(count, draws), CHUNK)
    if label is None:
        return torch.cat([generator(z) for z in blocks])
    return torch.cat([generator(z, z.new_full((len(z),), label, dtype=torch.long)) for z in blocks])


def _beside(public: Shard | None, label: int | None) -> Tensor | None:
    """Return public images of the class, of all classes where it has none."""
    if public is None or not len(public):
        return None
    same = public.inputs[public.targets == label] if label is not None else public.inputs
    return same if len(same) else public.inputs
