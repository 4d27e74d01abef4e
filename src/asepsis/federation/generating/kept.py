"""What every cell of a study trains alike, once a process: extractor, detectors, baselines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from asepsis.core.samples import Shard
from asepsis.federation.generating.detector import Detector, trained_detector
from asepsis.federation.generating.downstream import worth
from asepsis.federation.generating.extractor import Extractor, trained_extractor


@dataclass(frozen=True, slots=True)
class Content:
    """Tensors that a cache can key on: equal when their contents are."""

    digest: str
    tensors: tuple[Tensor, ...] = field(compare=False, repr=False)

    @classmethod
    def of(cls, *tensors: Tensor) -> Content:
        """Hash tensors by shape, device and content."""
        found = hashlib.sha256()
        for tensor in tensors:
            found.update(repr((tuple(tensor.shape), tensor.dtype, tensor.device)).encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return cls(found.hexdigest(), tensors)

    @property
    def shard(self) -> Shard:
        """The first two tensors as inputs and targets."""
        return Shard(self.tensors[0], self.tensors[1])


@lru_cache(maxsize=4)
def extractor_of(train: Content, classes: int, seed: int) -> Extractor:
    """Return the frozen classifier trained on these real images."""
    return trained_extractor(train.shard, classes, seed)


@lru_cache(maxsize=16)
def detector_of(pair: Content, seed: int) -> Detector:
    """Return what tells images with a trigger, second, from the same without it, first."""
    clean, stamped = pair.tensors
    return trained_detector(clean, stamped, seed)


@lru_cache(maxsize=4)
def worth_of_real(
    train: Content, test: Content, classes: int, seed: int
) -> tuple[tuple[str, float], ...]:
    """Return what a classifier trained on the real images scores."""
    return tuple(worth(train.shard, test.shard, classes, seed).items())


def joined_shards(shards: list[Shard]) -> Shard:
    """Put shards together, in order."""
    return Shard(
        torch.cat([shard.inputs for shard in shards]),
        torch.cat([shard.targets for shard in shards]),
    )
