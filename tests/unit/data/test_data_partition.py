"""Partitions deal whole patients, as their formulas say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asepsis.core.errors import ConfigError
from asepsis.core.samples import Array, Kind
from asepsis.data.dataset import Dataset
from asepsis.data.partition import Dirichlet, Iid, Partition, Quantity, Shards, Site
from asepsis.data.units import TRAIN_VALIDATION_TEST, Units, deal, majority, parts_by_patient


def made(
    targets: Array, groups: Array | None = None, split: Array | None = None, **more: Array
) -> Dataset:
    return Dataset(
        name="made",
        kind=Kind.TABLE,
        inputs=np.zeros((len(targets), 1), np.float32),
        targets=targets,
        classes=tuple("abcdefghij"),
        groups=np.arange(len(targets)) if groups is None else groups,
        split=split,
        **more,  # type: ignore[arg-type]
    )


def random_dataset(seed: int, n: int = 600, patients: int = 200) -> Dataset:
    rng = np.random.default_rng(seed)
    groups = rng.integers(patients, size=n)
    return made(rng.integers(4, size=n), groups, rng.integers(3, size=patients)[groups])


EVERYWHERE: list[Partition] = [Iid(), Dirichlet(alpha=1.0), Quantity(alpha=1.0), Shards()]


@pytest.mark.parametrize("partition", EVERYWHERE, ids=lambda p: type(p).__name__)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), hospitals=st.integers(2, 6))
def test_every_patient_goes_to_exactly_one_hospital(
    partition: Partition, seed: int, hospitals: int
) -> None:
    data = random_dataset(seed)
    assigned = partition.assign(data, hospitals, np.random.default_rng(seed))
    dealt = np.concatenate([index for _, index in assigned])
    assert sorted(dealt) == list(range(len(data)))
    owners = [set(data.groups[index].tolist()) for _, index in assigned]
    assert sum(len(owner) for owner in owners) == len(np.unique(data.groups))
    assert all(len(index) >= partition.min_samples for _, index in assigned)


@pytest.mark.parametrize("partition", EVERYWHERE, ids=lambda p: type(p).__name__)
def test_the_same_generator_gives_the_same_partition(partition: Partition) -> None:
    data = random_dataset(3)
    one, two, other = (partition.assign(data, 5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all((a == b).all() for (_, a), (_, b) in zip(one, two, strict=True))
    assert any(
        len(a) != len(b) or (a != b).any() for (_, a), (_, b) in zip(one, other, strict=True)
    )


def test_shares_are_kept_within_one_patient_in_every_class_and_part() -> None:
    rng = np.random.default_rng(0)
    data = made(rng.integers(3, size=3000), split=rng.integers(3, size=3000))
    units = Units.of_dataset(data)
    shares = rng.dirichlet(np.ones(7), size=3)
    owner = deal(units, shares, rng)
    for part in range(3):
        for label in range(3):
            pool = (units.split == part) & (units.label == label)
            counts = np.bincount(owner[pool], minlength=7)
            assert np.abs(counts - shares[label] * pool.sum()).max() <= 1


def test_a_hospitals_test_patients_resemble_its_training_patients() -> None:
    rng = np.random.default_rng(0)
    data = made(rng.integers(5, size=20_000), split=rng.integers(3, size=20_000))
    assert data.split is not None
    for _, index in Dirichlet(alpha=0.3).assign(data, 6, rng):
        mix = [
            np.bincount(data.targets[index][data.split[index] == part], minlength=5)
            / (data.split[index] == part).sum()
            for part in range(3)
        ]
        assert np.abs(mix[0] - mix[2]).max() < 0.03
        assert np.abs(mix[0] - mix[1]).max() < 0.03


def skew(partition: Partition) -> float:
    """Mean total variation between a hospital's class mix and the whole's."""
    rng = np.random.default_rng(1)
    data = made(rng.integers(5, size=10_000))
    whole = np.bincount(data.targets, minlength=5) / len(data)
    mixes = [
        np.bincount(data.targets[index], minlength=5) / len(index)
        for _, index in partition.assign(data, 10, rng)
    ]
    return float(np.mean([np.abs(mix - whole).sum() / 2 for mix in mixes]))


def test_smaller_alpha_is_stronger_label_skew() -> None:
    assert skew(Iid()) < 0.01 < skew(Dirichlet(alpha=100.0)) < 0.1
    assert skew(Dirichlet(alpha=100.0)) < skew(Dirichlet(alpha=1.0)) < skew(Dirichlet(alpha=0.1))


def test_quantity_skew_changes_sizes_and_not_the_mix() -> None:
    data = made(np.random.default_rng(0).integers(2, size=10_000))
    assigned = Quantity(alpha=0.5).assign(data, 8, np.random.default_rng(4))
    sizes = [len(index) for _, index in assigned]
    assert max(sizes) > 5 * min(sizes)
    assert skew(Quantity(alpha=0.5)) < 0.02


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_shards_give_each_hospital_so_many_classes_and_lose_none(classes: int) -> None:
    data = made(np.random.default_rng(0).integers(6, size=3000))
    assigned = Shards(classes=classes).assign(data, 9, np.random.default_rng(0))
    assert {len(np.unique(data.targets[index])) for _, index in assigned} == {classes}
    assert sum(len(index) for _, index in assigned) == len(data)


def test_shards_refuse_to_lose_a_class() -> None:
    data = made(np.arange(600) % 6)
    with pytest.raises(ConfigError, match="use at least 2 classes or more hospitals"):
        Shards(classes=1).assign(data, 5, np.random.default_rng(0))


def test_sites_are_kept_by_size_and_patients_stay_whole() -> None:
    sites = np.array(["b"] * 30 + ["a"] * 20 + ["tiny"] * 3)
    groups = np.arange(53)
    groups[30] = groups[31] = 0  # patient 0 was seen once in b, twice in a
    data = made(np.zeros(53, int), groups, sites=sites)
    assigned = dict(Site().assign(data, None, np.random.default_rng(0)))
    assert list(assigned) == ["a", "b"]
    assert set(assigned["a"]) == {0, *range(30, 50)}
    assert list(dict(Site().assign(data, 1, np.random.default_rng(0)))) == ["b"]


def test_site_refuses_what_the_data_do_not_know() -> None:
    with pytest.raises(ConfigError, match="knows no sites"):
        Site().assign(made(np.zeros(20, int)), None, np.random.default_rng(0))
    data = made(np.zeros(20, int), sites=np.array(["a"] * 10 + ["b"] * 10))
    with pytest.raises(ConfigError, match=r"has 2 sites.*got 3; use 2 or fewer"):
        Site().assign(data, 3, np.random.default_rng(0))


def test_an_impossible_partition_names_the_hospital_and_what_would_do() -> None:
    data = made(np.arange(40) % 2)
    with pytest.raises(ConfigError, match=r"hospital-\d would hold .* use a larger alpha"):
        Dirichlet(alpha=0.01).assign(data, 5, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="use fewer hospitals"):
        Iid().assign(data, 30, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="say how many hospitals"):
        Iid().assign(data, None, np.random.default_rng(0))


def test_too_small_draws_are_repeated_until_one_will_do() -> None:
    data = made(np.random.default_rng(0).integers(2, size=200))
    for seed in range(20):
        assigned = Dirichlet(alpha=0.5).assign(data, 6, np.random.default_rng(seed))
        assert min(len(index) for _, index in assigned) >= 8


def test_a_unit_has_the_label_most_of_its_samples_have() -> None:
    of = np.array([0, 0, 0, 1, 1, 2])
    labels = np.array([3, 1, 3, 2, 1, 0])
    assert majority(of, labels, 3).tolist() == [3, 1, 0]


@settings(max_examples=50, deadline=None)
@given(count=st.integers(3, 200), seed=st.integers(0, 2**31))
@example(count=4, seed=30)
def test_patients_split_seventy_ten_twenty_and_no_part_is_empty(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = Units.of_dataset(made(rng.integers(2, size=count)))
    parts = parts_by_patient(units, np.arange(count), rng)
    counts = np.bincount(parts, minlength=3)
    assert (counts > 0).all()
    assert np.abs(counts - count * np.array([0.7, 0.1, 0.2])).max() <= 1.5
    assert sorted(TRAIN_VALIDATION_TEST) == [0] * 7 + [1] + [2] * 2


def test_the_split_is_stratified_by_class() -> None:
    units = Units.of_dataset(made((np.arange(1000) % 10 == 0).astype(int)))
    parts = parts_by_patient(units, np.arange(1000), np.random.default_rng(0))
    positives = np.bincount(parts[units.label == 1], minlength=3)
    assert positives.tolist() == [70, 10, 20]
