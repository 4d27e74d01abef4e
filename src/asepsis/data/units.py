"""Patients, not samples, are what is dealt to hospitals and to train, validation and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asepsis.core.samples import Array
from asepsis.data.dataset import Dataset

Index = NDArray[np.int64]

TRAIN_VALIDATION_TEST = (0, 0, 1, 0, 0, 2, 0, 2, 0, 0)
"""Ten patients in a row go to these parts: 70 % train, 10 % validation, 20 % test."""

SHARES = np.bincount(TRAIN_VALIDATION_TEST, minlength=3) / len(TRAIN_VALIDATION_TEST)


@dataclass(frozen=True, eq=False)
class Units:
    """The patients (or lesions, or stays) of a data set.

    ``of`` ``[n]`` is each sample's unit; ``label``, ``split``, ``size`` ``[units]`` are a unit's
    most frequent class, its part of the official split (0 where there is none), its samples.
    """

    of: Index
    label: Index
    split: Index
    size: Index

    @classmethod
    def of_dataset(cls, data: Dataset) -> Units:
        """Group a data set's samples by patient."""
        _, of = np.unique(data.groups, return_inverse=True)
        count = int(of.max()) + 1
        split = np.zeros(count, np.int64)
        if data.split is not None:
            split[of] = data.split
        return cls(of, majority(of, data.labels(), count), split, np.bincount(of))

    def __len__(self) -> int:
        return len(self.size)

    def samples(self, chosen: Array) -> Index:
        """Return the positions of all samples of the chosen units (a mask)."""
        return np.flatnonzero(chosen[self.of])


def majority(of: Index, values: Index, count: int) -> Index:
    """Return the most frequent value of every unit; the smaller one where two tie.

    Example:
        >>> majority(np.array([0, 0, 1]), np.array([2, 2, 1]), 2).tolist()
        [2, 1]
    """
    pairs, times = np.unique(np.stack([of, values], axis=1), axis=0, return_counts=True)
    order = np.lexsort((pairs[:, 1], -times, pairs[:, 0]))
    units, first = np.unique(pairs[order, 0], return_index=True)
    found = np.zeros(count, np.int64)
    found[units] = pairs[order, 1][first]
    return found


def deal(units: Units, shares: NDArray[np.float64], rng: np.random.Generator) -> Index:
    """Deal whole units to hospitals: ``shares[c, k]`` is how much of class c hospital k gets.

    The same shares hold in every part of an official split, so that a hospital's test patients
    resemble its training patients. Within a part and class, shuffled units are laid end to end,
    the line is cut by the shares (hospitals in random order, so that rounding favors nobody), and
    a unit belongs where its middle lies.

    Returns:
        The hospital of every unit ``[units]``.
    """
    hospital = np.full(len(units), -1, np.int64)
    for split in np.unique(units.split):
        for label in np.unique(units.label):
            pool = np.flatnonzero((units.split == split) & (units.label == label))
            pool = rng.permutation(pool)
            order = rng.permutation(shares.shape[1])
            ends = np.cumsum(units.size[pool])
            if len(pool):
                middle = (ends - units.size[pool] / 2) / ends[-1]
                cuts = np.cumsum(shares[label, order])[:-1]
                hospital[pool] = order[np.searchsorted(cuts, middle, side="right")]
    return hospital


def parts_by_patient(units: Units, mine: Index, rng: np.random.Generator) -> Index:
    """Split one hospital's units 70/10/20 into train, validation and test, stratified by class.

    Units sorted by class (shuffled within) take turns in a fixed pattern from a random start, so
    totals and class shares are both exact up to one unit. With three units or more no part is
    empty.

    Returns:
        0, 1 or 2 for every unit of ``mine``.
    """
    shuffled = rng.permutation(len(mine))
    order = shuffled[np.argsort(units.label[mine[shuffled]], kind="stable")]
    start = int(rng.integers(len(TRAIN_VALIDATION_TEST)))
    turns = np.resize(np.roll(TRAIN_VALIDATION_TEST, -start), len(mine))
    parts = np.empty(len(mine), np.int64)
    parts[order] = turns
    for part in (0, 1, 2):
        if len(mine) >= 3 and not (parts == part).any():
            # From the part most above its share among those that have a patient to spare: the
            # largest may be train with too few already.
            counts = np.bincount(parts, minlength=3)
            surplus = np.where(counts > 1, counts - len(mine) * SHARES, -np.inf)
            parts[np.flatnonzero(parts == int(surplus.argmax()))[0]] = part
    return parts
