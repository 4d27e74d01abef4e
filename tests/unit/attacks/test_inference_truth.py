"""The truth is what hospitals really trained on, whatever the trainer and whoever is hostile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import inference_bench as bench
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asepsis.core.contracts import Task
from asepsis.core.layout import Layout
from asepsis.core.registry import build
from asepsis.core.samples import DataFacts, Kind, Samples, Shard
from asepsis.core.threat import Evidence, ThreatModel
from asepsis.core.updates import State
from asepsis.core.workshop import Workshop
from asepsis.engines import make_engine
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation, Watch
from asepsis.federation.scoring.hospitals import findings_at, labels_trained_on, used_by
from asepsis.federation.scoring.kinds import judged
from asepsis.federation.scoring.truth import Truth
from asepsis.training.sgd import Sgd

SHARES = [0.2, 0.8, 0.5, 0.6]


class Replaced:
    """Sends zeros, and trains on nothing."""

    def train(
        self, state: State, shop: Workshop, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        return state, torch.zeros_like(shop.received), {"loss": 1.0}


class Flipped:
    """Turns the labels of the first half of a hospital's records."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.TABLE})

    def poison(self, own: Samples, facts: DataFacts, rng: np.random.Generator) -> Samples:
        made = own.targets.copy()
        made[: len(made) // 2] = 1 - made[: len(made) // 2]
        return replace(own, targets=made)


class Silent(Sgd):
    """A trainer of somebody else's, that does not say what it draws."""

    drawn = None  # type: ignore[assignment]

    def train(
        self,
        module: nn.Module,
        layout: Layout,
        received: Tensor,
        shard: Shard,
        task: Task,
        rng: np.random.Generator,
        work: float,
    ) -> tuple[Tensor, Mapping[str, float]]:
        return torch.zeros_like(received), {"loss": 1.0}


def federation(attack: Any = None, **changes: Any) -> Federation:
    threat = ThreatModel(clients=(0,)) if attack is not None else ThreatModel()
    observers = {"somebody": Watch(build("attack", "loss-mia"), threat.when)}
    sites = bench.hospitals(SHARES)
    given = {"threat": threat, "observers": observers, **changes}
    made, _ = assemble(bench.parts(sites, attack, **given))
    return made


def truth_of(made: Federation, round_: int = 0) -> Truth:
    row = made.begin().row
    present = made.cohort(round_).present
    asked, public = made.candidates, made.public
    return Truth(made, round_, present, row, row, candidates=asked, public=public)


def claim(kind: str, name: str, values: Any, *clients: int) -> Evidence:
    return Evidence(kind, {name: torch.as_tensor(values)}, clients=clients)


@pytest.mark.parametrize("trainer", ["sgd", "adam", "mixup", "dp-sgd"])
def test_the_truth_is_what_engines_train_on(trainer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every gather of a hospital's samples in a real round, beside what is scored."""
    made = federation(trainer=build("trainer", {"name": trainer, "batch_size": 6, "steps": 9}))
    cls: Any = type(made.plan.trainer)
    real: dict[int, Tensor] = {}
    honest = cls.drawn

    def spy(self: Any, samples: int, work: float, rng: np.random.Generator) -> list[Tensor]:
        found: list[Tensor] = honest(self, samples, work, rng)
        real[len(real)] = torch.cat(found)
        return found

    monkeypatch.setattr(cls, "drawn", spy)
    engine = make_engine("serial")
    engine.start(made.plan)
    cohort = made.cohort(0)
    engine.train(made.begin().row, made.jobs(cohort, (), 0))
    monkeypatch.undo()
    for client in cohort.present:
        used = used_by(truth_of(made), client)
        assert used is not None
        assert torch.equal(used[1], real[client])


def test_a_hostile_hospital_trains_on_poisoned_samples() -> None:
    made = federation(Flipped())
    truth = truth_of(made)
    job = truth.jobs()[0]
    assert job.shard == "poisoned"
    poisoned = made.plan.shards[0, "poisoned"]
    assert findings_at(truth, 0).sum(axis=0).tolist() == torch.bincount(poisoned.targets).tolist()
    counted, used = labels_trained_on(truth, 0), used_by(truth, 0)
    assert counted is not None
    assert used is not None
    assert used[0] is poisoned
    assert counted[0].tolist() == torch.bincount(poisoned.targets[used[1]]).tolist()
    before = federation(Flipped(), threat=ThreatModel(clients=(0,), starts_at=1))
    assert {job.shard for job in truth_of(before).jobs().values()} == {"clean"}
    assert truth_of(before, 1).jobs()[0].shard == "poisoned"


def test_nobody_knows_what_was_used_where_training_is_replaced() -> None:
    made = federation(Replaced())
    truth = truth_of(made)
    assert used_by(truth, 0) is None
    counts = torch.full((4, 2), 20)
    known = judged(claim("labels", "counts", counts, 0, 1, 2, 3), truth).scores
    assert (known["hospitals"], known["unknown_truth"]) == (3, 0.25)
    shares = judged(claim("property", "shares", counts / 40, 0, 1, 2, 3), truth).scores
    assert (shares["hospitals"], shares["unknown_truth"]) == (3, 0.25)
    assert shares["error"] == pytest.approx((0.3 + 0.0 + 0.1) / 3)
    inputs = claim("inversion", "inputs", torch.zeros(1, bench.FEATURES))
    assert judged(replace(inputs, about=0), truth).scores == {"unknown_truth": 1.0}
    behind_a_sum = judged(inputs, truth).scores
    assert (behind_a_sum["used"], behind_a_sum["unknown_truth"]) == (120, 0.25)


def test_of_a_trainer_that_does_not_say_what_it_draws_there_are_no_figures() -> None:
    truth = truth_of(federation(trainer=Silent()))
    for kind, name, values in (
        ("labels", "counts", torch.ones(4, 2)),
        ("inversion", "inputs", torch.zeros(1, bench.FEATURES)),
    ):
        found = judged(claim(kind, name, values, 0, 1, 2, 3), truth)
        assert found.scores == {"unknown_truth": 1.0}


def test_changed_samples_are_no_members_and_as_many_others_are_left_out() -> None:
    made = federation(Flipped())
    asked, truth = made.candidates, truth_of(made)
    assert asked is not None
    scores = claim("membership", "scores", np.where(asked.member, 1.0, 0.0))
    train = made.hospitals[0].train
    changed = set(train.ids[: len(train) // 2].tolist())
    here = (asked.home == 0) & asked.member
    lost = sum(int(id_) in changed for id_ in asked.raw.ids[here])
    assert 0 < lost < here.sum()
    found = judged(scores, truth).scores
    assert found["excluded"] == 2 * lost
    assert found["held-out/members"] == asked.member.sum() - lost
    assert found["held-out/nonmembers"] == (~asked.member).sum() - lost
    assert found["held-out/auc"] == 1.0
    later = federation(Flipped(), threat=ThreatModel(clients=(0,), starts_at=1))
    assert judged(scores, truth_of(later)).scores["excluded"] == 0
    assert judged(scores, truth_of(later, 1)).scores["excluded"] == 2 * lost


def test_candidates_of_replaced_training_are_left_out() -> None:
    made = federation(Replaced())
    asked = made.candidates
    assert asked is not None
    found = judged(claim("membership", "scores", np.zeros(len(asked.home))), truth_of(made)).scores
    assert found["excluded"] == (asked.home == 0).sum()
