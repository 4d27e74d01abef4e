"""Hospitals get their own training, validation and test patients, and may be unusual."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.core.samples import Hospital, Kind
from asepsis.data.dataset import Dataset
from asepsis.data.federate import federate
from asepsis.data.partition import Dirichlet, Iid, Site
from asepsis.data.scanner import Scanner
from asepsis.data.unusual import Unusual
from asepsis.federation.desk import joined


def images(n: int = 900, official: bool = False, patients: int | None = None) -> Dataset:
    rng = np.random.default_rng(0)
    groups = rng.integers(patients, size=n) if patients else np.arange(n)
    return Dataset(
        name="made",
        kind=Kind.IMAGE,
        inputs=rng.integers(40, 200, size=(n, 8, 8), dtype=np.uint8),
        targets=rng.choice(3, size=n, p=[0.6, 0.3, 0.1]),
        classes=("common", "second", "rare"),
        groups=groups,
        split=np.repeat([0, 1, 2], [n // 2, n // 4, n - n // 2 - n // 4]) if official else None,
    )


def parts(hospital: Hospital) -> tuple[Any, Any, Any]:
    return hospital.train, hospital.validation, hospital.test


def test_samples_know_where_they_come_from() -> None:
    data = images()
    for hospital in federate(data, Iid(), 4, Streams(0)):
        for part in parts(hospital):
            assert (part.inputs == data.inputs[part.ids]).all()
            assert (part.targets == data.targets[part.ids]).all()
            assert (part.groups == data.groups[part.ids]).all()


def test_the_body_goes_with_its_image() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(60, 4, 4), dtype=np.uint8)
    body = rng.random((60, 4, 4)) < 0.5
    data = Dataset(
        name="made",
        kind=Kind.PAIRED_IMAGE,
        inputs=pixels,
        targets=pixels,
        classes=(),
        attributes={"mask": body},
    )
    every = [part for h in federate(data, Iid(), 3, Streams(0)) for part in parts(h)]
    for part in [*every, joined(every), every[0].take(np.array([1, 0])), every[0].changed(pixels)]:
        assert (part.mask == body[part.ids]).all()
    with pytest.raises(ValueError, match="read-only"):
        every[0].mask[0] = False
    assert joined([every[0], replace(every[1], mask=None)]).mask is None


def test_no_patient_is_in_two_hospitals_or_two_parts() -> None:
    data = images(patients=150)
    made = federate(data, Dirichlet(), 5, Streams(3))
    owners = [set(part.groups.tolist()) for h in made for part in parts(h)]
    assert sum(map(len, owners)) == len(set.union(*owners)) == len(np.unique(data.groups))


def test_the_official_split_is_respected() -> None:
    data = images(official=True)
    assert data.split is not None
    for hospital in federate(data, Dirichlet(), 5, Streams(0)):
        for number, part in enumerate(parts(hospital)):
            assert (data.split[part.ids] == number).all()


def test_the_same_seed_gives_the_same_hospitals_and_another_does_not() -> None:
    def ids(seed: int) -> list[list[int]]:
        return [
            part.ids.tolist()
            for hospital in federate(images(), Dirichlet(), 5, Streams(seed))
            for part in parts(hospital)
        ]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


def test_hospitals_are_numbered_and_named() -> None:
    made = federate(images(), Iid(), 3, Streams(0))
    assert [(h.id, h.name) for h in made] == [(k, f"hospital-{k}") for k in range(3)]


def test_a_hospital_of_one_patient_cannot_be_split() -> None:
    data = images(n=90)
    alone = Dataset(
        name="alone",
        kind=data.kind,
        inputs=data.inputs,
        targets=data.targets,
        classes=data.classes,
        groups=np.repeat([0, 1, 2], 30),
        sites=np.repeat(["p0", "p1", "p2"], 30),
    )
    with pytest.raises(ConfigError, match="p0 has 1 of the 3 patients"):
        federate(alone, Site(), None, Streams(0))


def test_a_site_without_training_samples_is_refused() -> None:
    data = images(n=80, official=True)
    sites = np.where(np.arange(80) < 60, "a", "late")
    late = Dataset(
        name="late",
        kind=data.kind,
        inputs=data.inputs,
        targets=data.targets,
        classes=data.classes,
        split=data.split,
        sites=sites,
    )
    with pytest.raises(ConfigError, match="late would have nothing to train on"):
        federate(late, Site(), None, Streams(0))


@pytest.mark.parametrize("official", [True, False])
def test_a_specialist_has_one_class_only_and_others_keep_the_rest(official: bool) -> None:
    data = images(official=official)
    usual = federate(data, Iid(), 4, Streams(0))
    odd = Unusual(hospital=2, only_class="rare", share=0.5)
    made = federate(data, Iid(unusual=(odd,)), 4, Streams(0))
    for part in parts(made[2]):
        assert len(part)
        assert (part.targets == 2).all()
    ids = np.concatenate([part.ids for hospital in made for part in parts(hospital)])
    assert len(ids) == len(set(ids.tolist()))
    rare = [sum((p.targets == 2).sum() for p in parts(h)) for h in (usual[0], made[0])]
    assert abs(rare[1] - rare[0] / 2) <= 2
    common = [sum((p.targets == 0).sum() for p in parts(h)) for h in (usual[0], made[0])]
    assert common[0] == common[1]


def test_another_scanner_changes_one_hospitals_images_and_nothing_else() -> None:
    data = images()
    odd = Unusual(hospital=1, scanner=Scanner(gain=0.5, noise=0.02))
    usual, made = (federate(data, Iid(unusual=u), 3, Streams(0)) for u in ((), (odd,)))
    assert (made[0].train.inputs == usual[0].train.inputs).all()
    assert (made[1].train.ids == usual[1].train.ids).all()
    assert (made[1].train.targets == usual[1].train.targets).all()
    ratio = made[1].test.inputs.mean() / usual[1].test.inputs.mean()
    assert 0.45 < ratio < 0.55
    again = federate(data, Iid(unusual=(odd,)), 3, Streams(0))
    assert (again[1].train.inputs == made[1].train.inputs).all()


def test_the_argument_adds_to_what_the_partition_says() -> None:
    odd = Unusual(hospital=0, scanner=Scanner(gain=0.5))
    by_argument = federate(images(), Iid(), 3, Streams(0), unusual=[odd])
    by_partition = federate(images(), Iid(unusual=(odd,)), 3, Streams(0))
    assert (by_argument[0].train.inputs == by_partition[0].train.inputs).all()


@pytest.mark.parametrize(
    ("unusual", "says"),
    [
        ({"hospital": 9}, "no such hospital; got 9; use 0 to 2"),
        ({"only_class": "rar"}, "unknown class; got 'rar'; did you mean 'rare'"),
        ({"only_class": "rare", "share": 0.0}, "hospital-0 would hold"),
    ],
)
def test_an_unusual_hospital_must_be_possible(unusual: dict[str, Any], says: str) -> None:
    data = images(n=60)
    with pytest.raises(ConfigError, match=says):
        federate(data, Iid(), 3, Streams(0), unusual=[Unusual(**unusual)])


def test_unusual_hospitals_can_be_asked_for_in_an_experiment() -> None:
    spec = {
        "name": "dirichlet",
        "alpha": 1.0,
        "unusual": [{"hospital": 1, "only_class": "rare", "scanner": {"gain": 0.8}}],
    }
    partition = build("partition", spec)
    assert partition.unusual[0].scanner == Scanner(gain=0.8)
    with pytest.raises(ConfigError, match="gain"):
        build("partition", {"name": "iid", "unusual": [{"scanner": {"gain": "0.8"}}]})


def test_a_scanner_blurs_without_changing_flat_areas() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((2, 6, 6, 3), 90, np.uint8)
    assert (Scanner(blur=0.25).apply(flat, rng) == 90).all()
    point = np.zeros((1, 5, 5), np.uint8)
    point[0, 2, 2] = 160
    blurred = Scanner(blur=0.25).apply(point, rng)
    kernel = np.outer([0, 0.25, 0.5, 0.25, 0], [0, 0.25, 0.5, 0.25, 0])
    assert np.abs(blurred[0] - 160 * kernel).max() <= 0.5
