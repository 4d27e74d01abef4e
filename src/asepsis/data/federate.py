"""From one data set to hospitals, each with its own training, validation and test patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asepsis.core.errors import ConfigError, did_you_mean
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Hospital, Samples
from asepsis.data.dataset import SPLITS, TEST, TRAIN, Dataset
from asepsis.data.partition import Partition
from asepsis.data.units import Index, Units, parts_by_patient
from asepsis.data.unusual import Assignment, Unusual, specialize

UNSEEN = "federation.unseen"


class _Place(NamedTuple):
    hospital: int
    part: int


def federate(
    dataset: Dataset,
    partition: Partition,
    hospitals: int | None,
    streams: Streams,
    unusual: Sequence[Unusual] = (),
) -> tuple[Hospital, ...]:
    """Divide a data set among hospitals, and each hospital's share by patient.

    An official split is respected; else each hospital's patients go 70/10/20 to train, validation
    and test, stratified by class. No patient is in two hospitals or in two parts. Nothing here
    depends on the attack.

    Args:
        dataset: the data.
        partition: who gets which patients.
        hospitals: how many; ``None`` means all real sites.
        streams: the run's randomness; ``Draw.PARTITION`` and ``Draw.SPLIT`` are used.
        unusual: hospitals that are unusual on purpose, besides those the partition names.

    Raises:
        ConfigError: a hospital would be empty, too small, or cannot be split by patient.
    """
    assignment = partition.assign(dataset, hospitals, streams.at(Draw.PARTITION))
    return _divided(dataset, partition, assignment, streams, unusual)


def federate_without(
    dataset: Dataset,
    partition: Partition,
    hospitals: int | None,
    streams: Streams,
    unseen: str | int,
    unusual: Sequence[Unusual] = (),
) -> tuple[tuple[Hospital, ...], Hospital]:
    """Divide a data set among hospitals, but keep one out: all its samples are test samples.

    The others are as :func:`federate` makes them, numbered without it.

    Args:
        dataset: the data.
        partition: who gets which patients, the unseen hospital too.
        hospitals: how many, the unseen one included; ``None`` means all real sites.
        streams: the run's randomness.
        unseen: its name, or its number among all; the name of a real site means all virtual
            hospitals made of it.
        unusual: hospitals that are unusual on purpose, by their number without the unseen one.

    Raises:
        ConfigError: there is no such hospital, or no other; and as :func:`federate`.
    """
    assignment = partition.assign(dataset, hospitals, streams.at(Draw.PARTITION))
    chosen = _named(unseen, [name for name, _ in assignment])
    kept = [one for number, one in enumerate(assignment) if number not in chosen]
    if not kept:
        raise ConfigError(
            "somebody must take part", place=UNSEEN, got=unseen, fix="use more hospitals"
        )
    made = _divided(dataset, partition, kept, streams, unusual)
    index = np.sort(np.concatenate([assignment[number][1] for number in chosen]))
    name = str(unseen) if isinstance(unseen, str) else assignment[unseen][0]
    return made, _untouched(dataset, index, len(made), name)


def _named(unseen: str | int, names: list[str]) -> list[int]:
    """Return the numbers of the hospitals that are meant."""
    if isinstance(unseen, str):
        found = [k for k, name in enumerate(names) if unseen in (name, name.rpartition("/")[0])]
    else:
        found = [unseen] if 0 <= unseen < len(names) else []
    if not found:
        fix = did_you_mean(str(unseen), names)
        raise ConfigError("no such hospital", place=UNSEEN, got=unseen, fix=fix)
    return found


def _untouched(dataset: Dataset, index: Index, number: int, name: str) -> Hospital:
    place = _Place(number, TEST)
    none, every = (_samples(dataset, part, place, (), Streams(0)) for part in (index[:0], index))
    return Hospital(number, name, none, none, every)


def _divided(
    dataset: Dataset,
    partition: Partition,
    assignment: Assignment,
    streams: Streams,
    unusual: Sequence[Unusual],
) -> tuple[Hospital, ...]:
    odd = (*partition.unusual, *unusual)
    if odd:
        assignment = specialize(assignment, dataset, odd, streams)
    units = Units.of_dataset(dataset)
    made = []
    for number, (name, index) in enumerate(assignment):
        parts = _parts(dataset, units, index, streams.at(Draw.SPLIT, number))
        _check(name, index, parts, units, dataset, partition.min_samples)
        train, validation, test = (
            _samples(dataset, index[parts == part], _Place(number, part), odd, streams)
            for part in range(3)
        )
        made.append(Hospital(number, name, train, validation, test))
    return tuple(made)


def _parts(dataset: Dataset, units: Units, index: Index, rng: np.random.Generator) -> Index:
    """Return 0, 1 or 2 for every sample of a hospital."""
    if dataset.split is not None:
        return np.asarray(dataset.split[index], np.int64)
    mine = np.unique(units.of[index])
    return parts_by_patient(units, mine, rng)[np.searchsorted(mine, units.of[index])]


def _check(
    name: str, index: Index, parts: Index, units: Units, dataset: Dataset, least: int
) -> None:
    if len(index) < least:
        raise ConfigError(
            f"{name} would hold {len(index)} samples of at least {least}",
            place="partition",
            fix="use fewer hospitals or a smaller min_samples",
        )
    patients = len(np.unique(units.of[index]))
    if dataset.split is None and patients < len(SPLITS):
        raise ConfigError(
            f"{name} has {patients} of the 3 patients that training, validation and test need",
            place="partition",
            fix="use iid or dirichlet, fewer hospitals, or the data set's option 'unit'",
        )
    if not (parts == TRAIN).any():
        raise ConfigError(
            f"{name} would have nothing to train on",
            place="partition",
            fix="use fewer hospitals or another partition",
        )


def _samples(
    dataset: Dataset, index: Index, place: _Place, odd: Sequence[Unusual], streams: Streams
) -> Samples:
    inputs = dataset.inputs[index]
    for one in odd:
        if one.hospital == place.hospital and one.scanner is not None:
            inputs = one.scanner.apply(inputs, streams.at(Draw.DATASET, *place))
    arrays = [inputs, dataset.targets[index], index.copy(), dataset.groups[index]]
    if dataset.mask is not None:
        arrays.append(dataset.mask[index])
    for array in arrays:
        array.flags.writeable = False  # shared by all runs of a process: nobody poisons in place
    return Samples(*arrays)
