"""Every partition: no hospital is empty, no patient is divided, the same seed gives the same."""

from __future__ import annotations

import os

import numpy as np
import pytest

from asepsis.core.errors import ConfigError
from asepsis.core.registry import build, entries
from asepsis.core.rng import Streams
from asepsis.core.samples import Hospital, Kind
from asepsis.data.dataset import Dataset
from asepsis.data.federate import federate

NAMES = [entry.name for entry in entries("partition") if entry.origin == "asepsis"]


def patients(official: bool) -> Dataset:
    """400 patients with 1 to 4 samples each, 3 classes, 5 sites."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), rng.integers(1, 5, size=400))
    return Dataset(
        name="patients",
        kind=Kind.TABLE,
        inputs=rng.normal(size=(len(groups), 2)).astype(np.float32),
        targets=rng.integers(3, size=len(groups)),
        classes=("a", "b", "c"),
        groups=groups,
        sites=np.array(list("ABCDE"))[groups % 5],
        split=rng.choice(3, size=400, p=[0.7, 0.1, 0.2])[groups] if official else None,
    )


def all_ids(hospital: Hospital) -> list[int]:
    parts = (hospital.train, hospital.validation, hospital.test)
    return [int(number) for part in parts for number in part.ids]


@pytest.mark.parametrize("official", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_hospitals_are_sound(name: str, official: bool) -> None:
    data = patients(official)
    made = federate(data, build("partition", name), 4, Streams(5))
    assert [hospital.id for hospital in made] == [0, 1, 2, 3]
    assert len({hospital.name for hospital in made}) == 4
    assert all(len(hospital.train) > 0 for hospital in made)
    assert all(len(all_ids(hospital)) >= 8 for hospital in made)
    owners = [set(data.groups[all_ids(hospital)].tolist()) for hospital in made]
    assert sum(map(len, owners)) == len(set.union(*owners))
    for hospital in made:
        seen = [
            set(p.groups.tolist()) for p in (hospital.train, hospital.validation, hospital.test)
        ]
        assert sum(map(len, seen)) == len(set.union(*seen))


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name: str) -> None:
    def ids(seed: int) -> list[list[int]]:
        made = federate(patients(False), build("partition", name), 4, Streams(seed))
        return [all_ids(hospital) for hospital in made]

    assert ids(0) == ids(0)
    assert ids(0) != ids(1)


@pytest.mark.parametrize("name", NAMES)
def test_too_many_hospitals_are_one_clear_error(name: str) -> None:
    with pytest.raises(ConfigError, match="use "):
        federate(patients(True), build("partition", name), 399, Streams(0))


@pytest.mark.parametrize("name", NAMES)
def test_options_are_strict(name: str) -> None:
    with pytest.raises(ConfigError, match="min_samples"):
        build("partition", {"name": name, "min_samples": "8"})
    with pytest.raises(ConfigError, match="unknown option"):
        build("partition", {"name": name, "alfa": 1.0})


@pytest.mark.skipif("ASEPSIS_DATA" not in os.environ, reason="ASEPSIS_DATA is not set")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "sites"),
    [
        ("heart-disease", 4),
        ("eicu", 186),
        ("cxr-multisite", 6),
        ("mri-ct", 3),
        ("physionet2012", 4),
    ],
)
def test_real_sites_are_hospitals(dataset: str, sites: int) -> None:
    made = federate(build("dataset", dataset).load(), build("partition", "site"), None, Streams(0))
    assert len(made) == sites
    for hospital in made:
        assert min(len(hospital.train), len(hospital.validation), len(hospital.test)) > 0
