"""A data attack that changes nobody's data is refused before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from planting_table import parts, samples

from asepsis.attacks.backdoor.perdoor import PerDoor
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.samples import DataFacts, Hospital, Samples
from asepsis.core.threat import ThreatModel
from asepsis.federation.build import assemble
from asepsis.federation.parts import Parts

ONE_TO_ONE = {"mode": "one-to-one", "source": 2, "target": 0}


def without(hospital: Hospital, label: int) -> Hospital:
    """The hospital, with no training sample of this class."""
    train = hospital.train
    kept = train.take(train.targets != label)
    return Hospital(hospital.id, hospital.name, kept, samples(6, 50), samples(6, 60))


def lacking(attack: Any, who: tuple[int, ...], label: int = 2) -> Parts:
    """Hospitals 1 and 4 are hostile; those of ``who`` have no sample of a class."""
    made = parts(attack, threat=ThreatModel(clients=(1, 4)))
    hospitals = tuple(without(h, label) if h.id in who else h for h in made.hospitals)
    return parts(attack, threat=made.threat, hospitals=hospitals)


@pytest.mark.parametrize("name", ["label-flip", "hyperdimensional"])
def test_an_attack_on_a_class_that_no_hostile_hospital_has_is_refused(name: str) -> None:
    attack = build("attack", {"name": name, **ONE_TO_ONE})
    with pytest.raises(ConfigError, match="changes nothing") as caught:
        assemble(lacking(attack, who=(1, 4)))
    assert caught.value.place == "attack"
    assert "hospitals 1, 4" in str(caught.value)


@pytest.mark.parametrize("name", ["label-flip", "hyperdimensional"])
def test_one_hostile_hospital_with_the_class_is_enough(name: str) -> None:
    attack = build("attack", {"name": name, **ONE_TO_ONE})
    federation, _ = assemble(lacking(attack, who=(4,)))
    clean, poisoned = (federation.plan.shards[1, kind] for kind in ("clean", "poisoned"))
    assert clean.targets.tolist() != poisoned.targets.tolist()


def test_a_change_of_inputs_alone_is_a_change() -> None:
    assemble(lacking(build("attack", {"name": "noise", "on": "inputs"}), who=(1, 4)))


def test_an_attack_that_also_crafts_updates_may_leave_data_alone() -> None:
    attack = build("attack", {"name": "sybil", "inner": {"name": "label-flip", **ONE_TO_ONE}})
    assemble(lacking(attack, who=(1, 4)))


def test_an_attack_that_also_trains_may_leave_data_alone() -> None:
    class Patient(PerDoor):
        def poison(self, own: Samples, facts: DataFacts, rng: np.random.Generator) -> Samples:
            return own

    assemble(lacking(Patient(target=1), who=(1, 4)))


def test_nobody_need_have_a_trigger_that_samples_carry_by_nature() -> None:
    trigger = {"name": "semantic", "feature": 0, "threshold": 1e6}
    attack = build("attack", {"name": "semantic", "trigger": trigger, "target": 1})
    federation, _ = assemble(lacking(attack, who=()))
    clean, poisoned = (federation.plan.shards[1, kind] for kind in ("clean", "poisoned"))
    assert torch.equal(clean.targets, poisoned.targets)
