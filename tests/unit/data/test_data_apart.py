"""A hospital that is kept out, and real sites divided into virtual hospitals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import ConfigError
from asepsis.core.rng import Streams
from asepsis.core.samples import Kind
from asepsis.data.dataset import Dataset
from asepsis.data.federate import federate, federate_without
from asepsis.data.partition import Iid, Site
from asepsis.data.unusual import Unusual
from asepsis.data.virtual import Virtual


def wards(official: bool = False, sites: str = "ABCD") -> Dataset:
    """300 patients with two samples each, seen at sites in turns."""
    groups = np.arange(300).repeat(2)
    return Dataset(
        name="wards",
        kind=Kind.TABLE,
        inputs=groups[:, None].astype(np.float32),
        targets=groups // 4 % 3,
        classes=("a", "b", "c"),
        groups=groups,
        sites=np.array(list(sites))[groups % len(sites)],
        split=np.where(groups % 10 < 7, 0, np.where(groups % 10 < 8, 1, 2)) if official else None,
    )


def without(unseen: str | int, partition: Any = None, hospitals: int | None = None) -> Any:
    return federate_without(wards(), partition or Site(), hospitals, Streams(0), unseen)


@pytest.mark.parametrize("official", [True, False])
def test_all_samples_of_the_unseen_hospital_are_test_samples(official: bool) -> None:
    data = wards(official)
    kept, apart = federate_without(data, Site(), None, Streams(0), "B")
    assert (apart.id, apart.name) == (3, "B")
    assert data.sites is not None
    assert apart.test.ids.tolist() == np.flatnonzero(data.sites == "B").tolist()
    assert len(apart.train) == len(apart.validation) == 0
    assert [(h.id, h.name) for h in kept] == [(0, "A"), (1, "C"), (2, "D")]
    others = {int(g) for h in kept for p in (h.train, h.validation, h.test) for g in p.groups}
    assert not others & set(apart.test.groups.tolist())
    assert len(others) == 225


def test_a_number_counts_all_hospitals() -> None:
    by_name, by_number = without("C"), without(2)
    assert by_number[1].name == "C"
    assert [h.train.ids.tolist() for h in by_name[0]] == [
        h.train.ids.tolist() for h in by_number[0]
    ]
    kept, apart = without(4, Iid(), 5)
    assert len(kept) == 4
    every = sum(len(p) for h in kept for p in (h.train, h.validation, h.test))
    assert every + len(apart.test) == 600


def test_the_name_of_a_site_means_all_that_was_made_of_it() -> None:
    kept, apart = without("A", Virtual(parts=3))
    assert [h.name for h in kept] == [f"{site}/{k}" for site in "BCD" for k in (1, 2, 3)]
    assert len(apart.test) == 150
    kept, apart = without("A/2", Virtual(parts=3))
    assert len(kept) == 11
    assert len(apart.test) == pytest.approx(50, abs=4)


@pytest.mark.parametrize(("unseen", "got"), [("E", "'E'"), (4, "4"), ("a", "'a'")])
def test_who_does_not_exist_cannot_be_unseen(unseen: str | int, got: str) -> None:
    with pytest.raises(ConfigError, match=f"no such hospital; got {got};.*One of: A, B, C, D"):
        without(unseen)


def test_somebody_takes_part() -> None:
    data = wards(sites="A")
    with pytest.raises(ConfigError, match="somebody must take part"):
        federate_without(data, Site(), 1, Streams(0), "A")


def test_an_unusual_hospital_takes_nothing_from_the_unseen_one() -> None:
    greedy = Iid(unusual=(Unusual(hospital=0, only_class="a", share=1.0),))
    kept, apart = without(1, greedy, 4)
    assert set(apart.test.targets.tolist()) == {0, 1, 2}
    assert set(kept[0].train.targets.tolist()) == {0}
    assert 0 not in kept[1].train.targets


@pytest.mark.parametrize("official", [True, False])
def test_real_sites_are_divided_by_patient_and_alike(official: bool) -> None:
    data = wards(official)
    made = federate(data, Virtual(parts=2), None, Streams(0))
    assert [h.name for h in made] == [f"{site}/{k}" for site in "ABCD" for k in (1, 2)]
    owners = [
        {int(g) for p in (h.train, h.validation, h.test) for g in p.groups.tolist()} for h in made
    ]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 300
    assert data.sites is not None
    for hospital, owner in zip(made, owners, strict=True):
        ids = np.concatenate([hospital.train.ids, hospital.validation.ids, hospital.test.ids])
        assert set(data.sites[ids]) == {hospital.name[0]}
        shares = np.bincount(data.targets[ids]) / len(ids)
        assert shares == pytest.approx([1 / 3] * 3, abs=0.06)
        assert abs(len(owner) - 37.5) <= 2


def test_hospitals_are_counted_by_the_site() -> None:
    made = federate(wards(), Virtual(parts=3), 6, Streams(0))
    assert len({h.name[0] for h in made}) == 2
    with pytest.raises(ConfigError, match="multiple of 3"):
        federate(wards(), Virtual(parts=3), 7, Streams(0))
    with pytest.raises(ConfigError, match="4 sites of at least 24"):
        federate(wards(), Virtual(parts=3), 15, Streams(0))
    with pytest.raises(ConfigError, match="0 sites of at least 800"):
        federate(wards(), Virtual(parts=100), None, Streams(0))
