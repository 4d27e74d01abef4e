"""A hospital that is honest but unusual on purpose: detectors must not mistake it for hostile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as strict_dataclass

from asepsis.core.errors import ConfigError, did_you_mean
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Kind
from asepsis.data.dataset import Dataset
from asepsis.data.scanner import Scanner
from asepsis.data.units import Index, Units

_PICTURES = frozenset({Kind.IMAGE, Kind.MULTILABEL_IMAGE, Kind.VOLUME, Kind.PAIRED_IMAGE})


@strict_dataclass(
    frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
)
class Unusual:
    """What is unusual about one hospital.

    ``only_class`` makes it a specialist: it sends its other patients away and receives ``share``
    of that class's patients from every other hospital. ``scanner`` gives it another device.
    """

    hospital: Annotated[int, Field(ge=0)] = 0
    only_class: str | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    scanner: Scanner | None = None


Assignment = list[tuple[str, Index]]


def specialize(
    assignment: Assignment, data: Dataset, unusual: Sequence[Unusual], streams: Streams
) -> Assignment:
    """Return the assignment with the specialists' patients exchanged."""
    units = Units.of_dataset(data)
    for one in unusual:
        _check(one, assignment, data)
        if one.only_class is not None:
            rng = streams.at(Draw.PARTITION, 1, one.hospital)
            assignment = _exchange(assignment, one, _label(one.only_class, data), units, rng)
    return assignment


def _exchange(
    assignment: Assignment, one: Unusual, label: int, units: Units, rng: np.random.Generator
) -> Assignment:
    made: Assignment = []
    specialist = np.zeros(len(units), bool)
    for number, (name, index) in enumerate(assignment):
        here = np.zeros(len(units), bool)
        here[units.of[index]] = True
        theirs = np.flatnonzero(here & (units.label == label))
        if number != one.hospital:
            moved = [
                rng.permutation(pool)[: round(one.share * len(pool))]
                for part in np.unique(units.split)
                if len(pool := theirs[units.split[theirs] == part])
            ]
            theirs = np.concatenate([*moved, np.empty(0, np.int64)]).astype(np.int64)
            here[theirs] = False
        specialist[theirs] = True
        made.append((name, units.samples(here)))
    made[one.hospital] = (assignment[one.hospital][0], units.samples(specialist))
    return made


def _label(name: str, data: Dataset) -> int:
    first = 1 if data.kind is Kind.MULTILABEL_IMAGE else 0
    return data.classes.index(name) + first


def _check(one: Unusual, assignment: Assignment, data: Dataset) -> None:
    place = "partition.unusual"
    if one.hospital >= len(assignment):
        raise ConfigError(
            "there is no such hospital",
            place=place,
            got=one.hospital,
            fix=f"use 0 to {len(assignment) - 1}",
        )
    if one.only_class is not None and one.only_class not in data.classes:
        fix = did_you_mean(one.only_class, data.classes)
        raise ConfigError("unknown class", place=place, got=one.only_class, fix=fix)
    if one.scanner is not None and data.kind not in _PICTURES:
        raise ConfigError(f"{data.kind} data know no scanner", place=place, fix="leave scanner out")
