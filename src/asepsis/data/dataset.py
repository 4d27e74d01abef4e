"""A data set in memory: inputs, targets, who they belong to, and where they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from asepsis.core.errors import DataError
from asepsis.core.samples import Array, DataFacts, Kind
from asepsis.data.cards import Card

TRAIN, VALIDATION, TEST = 0, 1, 2
SPLITS = ("train", "validation", "test")

_SHAPES = {
    Kind.IMAGE: ((3, 4), np.uint8),
    Kind.MULTILABEL_IMAGE: ((3, 4), np.uint8),
    Kind.PAIRED_IMAGE: ((3,), np.uint8),
    Kind.VOLUME: ((4,), np.uint8),
    Kind.TABLE: ((2,), np.float32),
    Kind.SEQUENCE: ((3,), np.float32),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Raw samples with everything a partition needs to know. Arrays are read-only.

    ``inputs`` and ``targets`` as :class:`~asepsis.core.samples.Kind` says; ``groups`` int64
    ``[n]``: the patient (or lesion, or stay) of each sample, its position when nobody knows;
    ``sites`` the hospital, scanner or unit it comes from; ``split`` uint8 ``[n]``, the official
    0 train, 1 validation, 2 test; ``attributes`` facts of a sample that no model is fed. Of paired
    images the attribute ``mask`` (bool ``[n, h, w]``) is the body; ``unit``, ``window`` and
    ``volume`` are as :class:`~asepsis.core.samples.DataFacts` says.

    Raises:
        DataError: lengths differ, a target is out of range, a value is infinite, a patient is
            in more than one part of the official split, or slices do not make whole cubes.

    Example:
        >>> inputs = np.zeros((2, 3), np.float32)
        >>> tiny = Dataset(name="tiny", kind=Kind.TABLE, inputs=inputs, targets=np.array([0, 1]),
        ...                classes=("well", "ill"))
        >>> len(tiny), tiny.groups.tolist()
        (2, [0, 1])
    """

    name: str
    kind: Kind
    inputs: Array
    targets: Array
    classes: tuple[str, ...]
    groups: Array = field(default_factory=lambda: np.empty(0, np.int64))
    sites: Array | None = None
    split: Array | None = None
    attributes: Mapping[str, Array] = field(default_factory=dict)
    synthetic: bool = False
    unit: str = "normalized"
    window: tuple[float, float] = (0.0, 255.0)
    volume: int | None = None

    def __post_init__(self) -> None:
        n = len(self.inputs)
        groups = self.groups if len(self.groups) else np.arange(n)
        self._set("groups", _frozen(np.asarray(groups, np.int64)))
        self._set("inputs", _frozen(self.inputs))
        self._set("targets", _frozen(_targets(self.kind, self.targets)))
        self._set("sites", None if self.sites is None else _frozen(np.asarray(self.sites, str)))
        self._set("split", None if self.split is None else _frozen(self.split.astype(np.uint8)))
        self._set("attributes", {name: _frozen(v) for name, v in self.attributes.items()})
        _check(self)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def facts(self) -> DataFacts:
        """What every participant knows of the task."""
        return DataFacts(self.kind, self.classes, self.unit, self.window, self.volume)

    @property
    def mask(self) -> Array | None:
        """The body on paired images, bool ``[n, h, w]``."""
        return self.attributes.get("mask") if self.kind is Kind.PAIRED_IMAGE else None

    def digest(self) -> str:
        """Return the SHA-256 of the content: the same data, the same digest, on every machine."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        head = "|".join([self.name, self.kind.value, *self.classes, *self._scale()])
        state = hashlib.sha256(head.encode())
        named = {"inputs": self.inputs, "targets": self.targets, "groups": self.groups}
        optional = {"sites": self.sites, "split": self.split, "mask": self.mask}
        present = {name: array for name, array in optional.items() if array is not None}
        for name, array in (named | present).items():
            state.update(f"|{name}|{array.dtype.str}|{array.shape}|".encode())
            state.update(array.view(np.uint8).reshape(-1).data)
        return state.hexdigest()

    def _scale(self) -> list[str]:
        paired = self.kind is Kind.PAIRED_IMAGE
        return [self.unit, str(self.window), str(self.volume)] if paired else []

    def labels(self) -> NDArray[np.int64]:
        """Return one class per sample to stratify by.

        That is the target where there is one; with several findings the rarest of them (plus
        one, 0 for none); 0 where the target is an image.
        """
        if self.kind is Kind.PAIRED_IMAGE:
            return np.zeros(len(self), np.int64)
        if self.kind is not Kind.MULTILABEL_IMAGE:
            return np.asarray(self.targets, np.int64)
        rarest = np.argsort(self.targets.sum(axis=0), kind="stable")
        ordered = self.targets[:, rarest].astype(bool)
        return np.where(ordered.any(axis=1), rarest[ordered.argmax(axis=1)] + 1, 0)


class DatasetComponent(Protocol):
    """What a component of kind "dataset" offers."""

    card: ClassVar[Card]

    def load(self) -> Dataset:
        """Return the data, from a file or made up."""
        ...


def _frozen(array: Array) -> Array:
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def _targets(kind: Kind, targets: Array) -> Array:
    if kind is Kind.PAIRED_IMAGE and targets.dtype == np.int16:
        return targets
    wanted = np.uint8 if kind in (Kind.MULTILABEL_IMAGE, Kind.PAIRED_IMAGE) else np.int64
    return np.asarray(targets).astype(wanted, copy=False)


def _check(data: Dataset) -> None:
    dims, dtype = _SHAPES[data.kind]
    if data.inputs.ndim not in dims or data.inputs.dtype != dtype:
        raise DataError(
            f"{data.kind} inputs need {' or '.join(map(str, dims))} axes of {np.dtype(dtype)}",
            place=data.name,
            got=f"{data.inputs.ndim} axes of {data.inputs.dtype}",
        )
    if len(data) == 0:
        raise DataError("there is no sample", place=data.name)
    _check_lengths(data)
    _check_targets(data)
    if data.inputs.dtype.kind == "f" and np.isinf(data.inputs).any():
        where = int(np.argwhere(np.isinf(data.inputs))[0, 0])
        raise DataError(
            f"sample {where} holds an infinite value", place=data.name, fix="write NaN for missing"
        )
    if data.split is not None:
        _check_split(data, data.split)


def _check_lengths(data: Dataset) -> None:
    arrays = {"targets": data.targets, "groups": data.groups, **data.attributes}
    optional = {"sites": data.sites, "split": data.split}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    for name, array in arrays.items():
        if len(array) != len(data):
            raise DataError(
                f"{name} has another length than inputs",
                place=data.name,
                got=f"{len(array)} for {len(data)} samples",
            )


def _check_targets(data: Dataset) -> None:
    targets = data.targets
    if data.kind is Kind.PAIRED_IMAGE:
        if targets.shape != data.inputs.shape:
            raise DataError("input and target differ in shape", place=data.name, got=targets.shape)
        _check_pairs(data)
        return
    if data.kind is Kind.MULTILABEL_IMAGE:
        fits = targets.ndim == 2 and targets.shape[1] == len(data.classes) and targets.max() <= 1
    else:
        fits = targets.ndim == 1 and targets.min() >= 0 and targets.max() < len(data.classes)
    if not fits:
        raise DataError(
            f"targets do not fit {len(data.classes)} classes",
            place=data.name,
            got=f"shape {targets.shape}, {_misfits(data)}",
        )


def _misfits(data: Dataset) -> str:
    """Say how many samples have targets out of range; their values are not repeated."""
    most = 1 if data.kind is Kind.MULTILABEL_IMAGE else len(data.classes) - 1
    wrong = np.argwhere((data.targets < 0) | (data.targets > most))
    if not len(wrong):
        return "all of them in range"
    samples = np.unique(wrong[:, 0])
    return f"{len(samples)} samples out of range, number {samples[0] + 1} first"


def _check_pairs(data: Dataset) -> None:
    mask, side = data.mask, data.volume
    if mask is not None and (mask.shape != data.inputs.shape or mask.dtype != bool):
        raise DataError(
            "a mask is bool, and as large as the images",
            place=data.name,
            got=f"{mask.dtype} {mask.shape} for {data.inputs.shape}",
        )
    low, high = data.window
    if not low < high:
        raise DataError("a window goes from low to high", place=data.name, got=data.window)
    if side is None:
        return
    cubes = len(data) // (3 * side) if side > 0 else 0
    if data.inputs.shape != (cubes * 3 * side, side, side):
        raise DataError(
            f"slices do not make whole cubes of side {side}, three planes each",
            place=data.name,
            got=data.inputs.shape,
        )


def _check_split(data: Dataset, split: Array) -> None:
    if split.max() > TEST:
        wrong = int(np.flatnonzero(split > TEST)[0])
        raise DataError(
            "a split is 0, 1 or 2", place=data.name, got=f"another at sample {wrong + 1} first"
        )
    order = np.lexsort((split, data.groups))
    groups, parts = data.groups[order], split[order]
    crossing = (groups[1:] == groups[:-1]) & (parts[1:] != parts[:-1])
    if crossing.any():
        raise DataError(
            "a patient is in more than one part of the official split",
            place=data.name,
            got=f"sample {int(order[1:][crossing][0]) + 1}, for one",
        )
