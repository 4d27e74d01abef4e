"""Every target becomes another patient's, nothing else changes, and slices meet slices."""

from __future__ import annotations

import numpy as np
import pytest

from asepsis.attacks.data.mismatched_pairs import MismatchedPairs
from asepsis.core.samples import Array, DataFacts, Kind, Samples

FACTS = DataFacts(Kind.PAIRED_IMAGE, (), unit="HU", window=(-1024.0, 3071.0))


def hospital(groups: Array) -> Samples:
    """Targets of one pixel that say whose slice it is: 100 × patient + place in the data set."""
    n, order = len(groups), np.random.default_rng(1).permutation(len(groups))
    place = np.array([np.sum(groups[:k] == who) for k, who in enumerate(groups)])
    targets = (100 * groups + place).astype(np.int16).reshape(n, 1, 1)
    mask = np.ones((n, 1, 1), bool)
    whole = Samples(np.zeros((n, 1, 1), np.uint8), targets, np.arange(n), groups, mask)
    return whole.take(order)


def poisoned(groups: Array, share: float = 1.0, seed: int = 0) -> tuple[Samples, Array, Array]:
    """Return the samples, and whose target each now has, and which slice of theirs."""
    own = hospital(groups)
    made = MismatchedPairs(share=share).poison(own, FACTS, np.random.default_rng(seed))
    assert np.array_equal(made.ids, own.ids)
    assert np.array_equal(made.groups, own.groups)
    assert made.targets.dtype == np.int16
    values = made.targets.ravel()
    return own, values // 100, values % 100


@pytest.mark.parametrize("seed", range(5))
def test_everybody_gets_all_targets_of_exactly_one_other_patient(seed: int) -> None:
    own, whose, which = poisoned(np.repeat(np.arange(6), 4), seed=seed)
    assert (whose != own.groups).all()
    assert np.array_equal(which, own.targets.ravel() % 100)
    donors = {who: set(whose[own.groups == who].tolist()) for who in range(6)}
    assert all(len(found) == 1 for found in donors.values())
    assert set.union(*donors.values()) == set(range(6))


def test_a_share_counts_patients() -> None:
    own, whose, _ = poisoned(np.repeat(np.arange(10), 3), share=0.4)
    assert len(np.unique(own.groups[whose != own.groups])) == 4


@pytest.mark.parametrize(("share", "changed"), [(0.0, 0), (0.01, 2)])
def test_a_small_share_is_two_patients_and_no_share_none(share: float, changed: int) -> None:
    own, whose, _ = poisoned(np.arange(8), share=share)
    assert np.sum(whose != own.groups) == changed


def test_patients_of_different_size_are_filled_up() -> None:
    own, whose, which = poisoned(np.array([0, 0, 0, 0, 0, 1, 1]))
    assert (whose != own.groups).all()
    long = own.groups == 0
    order = np.argsort(own.ids[long])
    assert which[long][order].tolist() == [0, 1, 0, 1, 0]


def test_a_lone_patient_keeps_its_targets() -> None:
    own, whose, _ = poisoned(np.zeros(3, int))
    assert np.array_equal(whose, own.groups)
