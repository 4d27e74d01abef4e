"""Raw and prepared samples: what attacks may change, and what training reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


class Kind(StrEnum):
    """What one sample is.

    ``image``: uint8 ``[n, h, w]`` or ``[n, h, w, c]``, targets int64 ``[n]``; ``volume``: uint8
    ``[n, d, h, w]``; ``multilabel-image``: as image, targets uint8 ``[n, labels]``; ``table``:
    float32 ``[n, features]`` with NaN for missing; ``sequence``: float32 ``[n, time, channels]``;
    ``paired-image``: inputs and targets are both uint8 ``[n, h, w]``; targets may be int16, in the
    unit of measurement itself (Hounsfield units).
    """

    IMAGE = "image"
    VOLUME = "volume"
    MULTILABEL_IMAGE = "multilabel-image"
    TABLE = "table"
    SEQUENCE = "sequence"
    PAIRED_IMAGE = "paired-image"


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Raw samples as they lie at a hospital: this is what a data attack may change.

    ``ids`` are positions in the dataset, ``groups`` the patient (or lesion, or stay) of each.
    ``mask``, bool ``[n, h, w]``, is the body on paired images, where somebody has outlined it.
    """

    inputs: Array
    targets: Array
    ids: Array
    groups: Array
    mask: Array | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, where: Array) -> Samples:
        """Return the samples at ``where`` (indices or a mask)."""
        return Samples(
            self.inputs[where],
            self.targets[where],
            self.ids[where],
            self.groups[where],
            None if self.mask is None else self.mask[where],
        )

    def changed(self, inputs: Array | None = None, targets: Array | None = None) -> Samples:
        """Return the same samples with other inputs or targets."""
        return replace(
            self,
            inputs=self.inputs if inputs is None else inputs,
            targets=self.targets if targets is None else targets,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Prepared tensors of one split, in memory, ready for the hot loop."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


Prepare = Callable[[Samples], Shard]
"""Crop, resize and scale: runs once, after poisoning."""


@dataclass(frozen=True, slots=True, eq=False)
class Hospital:
    """One hospital's samples, split by patient."""

    id: int
    name: str
    train: Samples
    validation: Samples
    test: Samples


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What every participant knows of the task: the kind of sample and the classes.

    Of paired images: ``window`` are the values of a target, in ``unit``, that become -1 and 1
    when prepared (-1024 and 3071 with "HU" for Hounsfield units); the raw 0 and 255 of 8 bits
    stand for them. Errors in "normalized" units are shares of the window. Where samples come as
    cubes, ``volume`` is their side S: sample ``((v * 3) + plane) * S + slice`` is a slice of
    volume v ``[S, S, S]`` along axis ``plane``: axial, coronal, sagittal.
    """

    kind: Kind
    classes: tuple[str, ...]
    unit: str = "normalized"
    window: tuple[float, float] = (0.0, 255.0)
    volume: int | None = None
