"""Candidates come in an order that says nothing, one record a patient."""

from __future__ import annotations

import numpy as np
import torch

from asepsis.core.rng import Streams
from asepsis.core.samples import Hospital, Samples, Shard
from asepsis.federation.candidates import Candidates, draw_candidates

PATIENTS = 20
TRAIN, VALIDATION, TEST = 0, 1, 2


def part(home: int, which: int, patients: int = PATIENTS) -> Samples:
    """Two records a patient; a record says where it lies, in which part, and whose it is."""
    patient = np.repeat(np.arange(patients), 2)
    table = np.stack([np.full(len(patient), home), np.full(len(patient), which), patient], axis=1)
    groups = 1000 * home + 100 * which + patient
    ids = np.arange(len(patient)) + 10 * groups[0]
    return Samples(table.astype(np.float32), np.zeros(len(patient), np.int64), ids, groups)


def prepare(samples: Samples) -> Shard:
    return Shard(torch.from_numpy(samples.inputs), torch.from_numpy(samples.targets))


def drawn(count: int = 10, homes: int = 4, test: int = PATIENTS, seed: int = 0) -> Candidates:
    hospitals = tuple(
        Hospital(home, str(home), part(home, TRAIN), part(home, VALIDATION), part(home, TEST, test))
        for home in range(homes)
    )
    return draw_candidates(hospitals, count, prepare, Streams(seed))


def test_what_is_said_of_each_is_true_of_it() -> None:
    found = drawn()
    assert (found.raw.inputs[:, 0] == found.home).all()
    assert (found.raw.inputs[:, 1] == np.where(found.member, TRAIN, TEST)).all()
    assert torch.equal(found.shard.inputs, torch.from_numpy(found.raw.inputs))


def test_every_hospital_has_as_many_members_as_others_and_no_patient_twice() -> None:
    for test, each in ((PATIENTS, 10), (4, 4)):
        found = drawn(test=test)
        assert (np.bincount(found.home[found.member]) == each).all()
        assert (np.bincount(found.home[~found.member]) == each).all()
        assert len(np.unique(found.groups)) == len(found.groups)


def test_the_place_among_candidates_tells_neither_member_nor_hospital() -> None:
    for seed in range(3):
        found = drawn(seed=seed)
        place = np.arange(len(found.home))
        for truth in (found.member, found.home):
            assert abs(np.corrcoef(place, truth)[0, 1]) < 0.4
        changes = (found.member[1:] != found.member[:-1]).mean()
        assert 0.3 < changes < 0.7, "runs of members would give them away"


def test_the_same_seed_asks_about_the_same_records() -> None:
    assert (drawn().raw.ids == drawn().raw.ids).all()
    assert (drawn().raw.ids != drawn(seed=1).raw.ids).any()
