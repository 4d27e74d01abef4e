"""What every cell of a study works out alike, once a process: extractors, detectors, baselines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from asepsis.core.samples import Array, Shard
from asepsis.federation.generating.detector import Detector, trained_detector
from asepsis.federation.generating.downstream import worth
from asepsis.federation.generating.extractor import Extractor, trained_extractor

T = TypeVar("T")
Key = tuple[Hashable, ...]
BLOCK = 256
MOST = 64
"""Of each kind so many results are kept; a study repeats its seeds in every cell."""


def digest(*tensors: Tensor) -> str:
    """Hash tensors by shape, device and content.

    Example:
        >>> digest(torch.zeros(2)) == digest(torch.zeros(2)), digest(torch.zeros(3))[:8]
        (True, '1f1ff3aa')
    """
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(repr((tuple(tensor.shape), tensor.dtype, tensor.device)).encode())
        for block in torch.split(tensor.detach(), BLOCK):  # no whole copy of what is not contiguous
            found.update(block.cpu().contiguous().flatten().numpy().data)
    return found.hexdigest()


@dataclass(slots=True)
class Kept(Generic[T]):
    """Small results by key, the longest unused forgotten; what they were made of is not kept."""

    most: int = MOST
    _known: dict[Key, T] = field(default_factory=dict)

    def get(self, key: Key, make: Callable[[], T]) -> T:
        """Return what is known under a key, or make it."""
        found = self._known.pop(key, None)
        found = make() if found is None else found
        self._known[key] = found  # last: used most recently
        if len(self._known) > self.most:
            self._known.pop(next(iter(self._known)))
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


Figures = dict[str, float]
EXTRACTORS: Final[Kept[Extractor]] = Kept()
DETECTORS: Final[Kept[Detector]] = Kept()
FIGURES: Final[Kept[Figures]] = Kept(4 * MOST)
"""Figures of images that no federation made: of real ones, and of those drawn without network."""


def forget() -> None:
    """Forget everything that was kept."""
    for known in (EXTRACTORS, DETECTORS, FIGURES):
        known.clear()


def extractor_of(key: str, train: Shard, classes: int, seed: int, groups: Array) -> Extractor:
    """Return the frozen classifier trained on these real images, whose digest is ``key``."""
    return EXTRACTORS.get(
        (key, classes, seed), lambda: trained_extractor(train, classes, seed, None, groups)
    )


def detector_of(clean: Tensor, stamped: Tensor, seed: int, groups: Array) -> Detector:
    """Return what tells images of these patients with a trigger from the same without it."""
    key = digest(clean, stamped, positions(groups)), seed
    return DETECTORS.get(key, lambda: trained_detector(clean, stamped, seed, groups))


def positions(groups: Array) -> Tensor:
    """Number patients in their order, so that they can be hashed.

    Example:
        >>> positions(np.array(["b", "a", "b"])).tolist()
        [1, 0, 1]
    """
    return torch.from_numpy(np.unique(groups, return_inverse=True)[1])


def worth_of_real(key: str, train: Shard, test: Shard, classes: int, seed: int) -> Figures:
    """Return what a classifier trained on real images scores; ``key`` is the digest of both."""
    where = "worth", key, classes, seed
    return dict(FIGURES.get(where, lambda: worth(train, test, classes, seed)))


def joined_shards(shards: list[Shard]) -> Shard:
    """Put shards together, in order."""
    return Shard(
        torch.cat([shard.inputs for shard in shards]),
        torch.cat([shard.targets for shard in shards]),
    )
