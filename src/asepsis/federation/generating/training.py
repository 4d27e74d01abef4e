"""Training images as judges of generators know them: so many at most, and small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from asepsis.core.rng import Draw
from asepsis.core.samples import Array, Shard
from asepsis.federation.federation import Federation
from asepsis.federation.generating.classifier import BLOCK, fitting
from asepsis.federation.generating.kept import joined_shards

MOST: Final = 20_000
"""At most so many training images judges know, drawn at random from all hospitals."""


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """Clean training images of all hospitals, averaged down to what classifiers see.

    Attributes:
        shard: the images and their classes, hospital by hospital.
        groups: the patient of each ``[n]``.
        owner: the hospital of each ``[n]``.
        whole: how many there are at the hospitals.
    """

    shard: Shard
    groups: Array
    owner: Array
    whole: int

    @property
    def about(self) -> str:
        """What was left out, for the end of a sentence; nothing where all are known."""
        known = len(self.owner)
        return (
            f"; judges know {known} of {self.whole} training images" if known < self.whole else ""
        )


def training_images(federation: Federation, most: int = MOST) -> Training:
    """Draw training images without replacement; all of them, in their order, if no more."""
    hospitals = federation.hospitals
    owner = np.repeat([one.id for one in hospitals], [len(one.train) for one in hospitals])
    where = np.sort(federation.streams.at(Draw.GENERATE, 2).permutation(len(owner))[:most])
    parts, groups = [], []
    for one in hospitals:
        own = where[owner[where] == one.id] - np.argmax(owner == one.id)
        parts.append(_small(federation.plan.shards[one.id, "clean"], torch.from_numpy(own)))
        groups.append(one.train.groups[own])
    return Training(joined_shards(parts), np.concatenate(groups), owner[where], len(owner))


def _small(shard: Shard, where: Tensor) -> Shard:
    """Average images down block by block: no large one is held twice."""
    where = where.to(shard.inputs.device)
    images = [fitting(shard.inputs[block]) for block in torch.split(where, BLOCK)]
    return Shard(torch.cat(images), shard.targets[where])
