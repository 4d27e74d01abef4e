"""Membership from a released generator: whoever holds it generates, and looks who is near."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind, Shard
from asepsis.core.threat import Evidence, ReleaseView, Setting
from asepsis.metrics.inference import nearest_distance, nearness
from asepsis.models.gan import Gan, Synthesizer

CHUNK = 256
"""Images generated at a time."""

PIXELS = 32
"""Images are averaged down to at most so many pixels a side before they are compared."""


@register("attack", "generator-membership")
class GeneratorMembership:
    """Membership inference from what a released generator makes (GAN-Leaks, black box).

    The holder generates ``images`` images S, of a conditional generator as many of each class that
    a candidate has, and compares every candidate ``x`` with those of its own class and with public
    images P of its class (of all classes where there is none): ``log d(x, P) - log d(x, S)``;
    without public images ``-d(x, S)``. Of each class's scores their median is taken off: a
    generator is nearer to all images of one class than to all of another. An unconditional
    generator knows no classes: every candidate is compared with all of S and of P, and no median
    is taken off. ``d`` is the distance to the nearest, Euclidean in prepared pixels, of images
    averaged down to at most 32×32. Scores are averaged over ``draws`` sets S. A generator that
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
        scores = torch.zeros(len(view.candidates), dtype=torch.float64)
        made = 0
        for label, mine in _classes(view.candidates, generator.classes):
            asked = _small(view.candidates.inputs[mine.to(view.candidates.inputs.device)])
            others = _beside(view.public, label)
            far = None if others is None else nearest_distance(asked, _small(others))
            for _ in range(self.draws):
                fakes = _small(_made(generator, self.images, label, draws))
                found = torch.from_numpy(nearness(nearest_distance(asked, fakes), far))
                scores[mine] += (
                    found - found.median() if generator.classes else found
                ) / self.draws
                made += len(fakes)
        if not bool(scores.isfinite().all()):
            return None
        return Evidence("membership", {"scores": scores}, measurements={"synthetic": float(made)})


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
    """Yield each class that a candidate has, and where; all at once where there are no classes."""
    if not classes:
        yield None, torch.arange(len(asked))
    for label in range(classes):
        mine = torch.nonzero(asked.targets.cpu() == label).flatten()
        if len(mine):
            yield label, mine


def _small(images: Tensor) -> Array:
    """Average images down to at most 32×32: distances then cost the same at every size."""
    height, width = (min(extent, PIXELS) for extent in images.shape[2:])
    averaged: Array = F.adaptive_avg_pool2d(images.double(), (height, width)).cpu().numpy()
    return averaged


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
