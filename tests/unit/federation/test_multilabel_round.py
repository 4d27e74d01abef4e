"""A federation that looks for several findings: it trains, and a trigger is scored by finding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from asepsis.core.engine import Job
from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.core.threat import ThreatModel
from asepsis.data.federate import federate
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import Scorer, assemble
from asepsis.federation.federation import Federation, Schedule
from asepsis.federation.parts import Parts
from asepsis.federation.round import play_round

TASK = {"name": "multilabel", "crop": 0.8, "size": 16}


def parts(task: dict[str, Any] = TASK, **changes: Any) -> Parts:
    phantom = build("dataset", {"name": "phantom", "n": 300, "size": 24, "multilabel": True}).load()
    made = federate(phantom, build("partition", "iid"), 3, Streams(0))
    table: dict[str, Any] = {
        "facts": phantom.facts,
        "hospitals": made,
        "task": build("task", task),
        "model": build("model", {"name": "small-cnn", "widths": [4, 4, 4]}),
        "trainer": build("trainer", {"name": "sgd", "steps": 2, "batch_size": 8}),
        "pipeline": build_pipeline(["mean"]),
        "server": build("server-optimizer", "fedavg"),
        "threat": ThreatModel(clients=(1,)),
        "attack": build("attack", {"name": "badnets", "target": 2}),
        "schedule": Schedule(rounds=2),
        "streams": Streams(0),
    }
    return Parts(**{**table, **changes})


def scores(federation: Federation, oracle: Scorer, rounds: int = 1) -> dict[str, float]:
    engine, state = make_engine("serial"), federation.begin()
    engine.start(federation.plan)
    for _ in range(rounds):
        state, outcome = play_round(federation, engine, state)
        assert outcome.void is None
    return oracle.score(state.row, 1)


def test_a_round_is_scored_by_finding_and_by_pair() -> None:
    found = scores(*assemble(parts()))
    assert {"micro_auroc", "macro_auroc", "asr", "backdoor/paired_auroc"} <= found.keys()
    assert 0.0 <= found["backdoor/paired_auroc"] <= 1.0
    assert found["backdoor/tt_micro_constant"] == 1.0


def test_weights_are_learned_from_all_hospitals_before_training() -> None:
    federation, _ = assemble(parts({**TASK, "class_weights": True}))
    targets = [hospital.train.targets for hospital in federation.hospitals]
    positives = sum(part.sum(axis=0, dtype=int) for part in targets)
    expected = sum(map(len, targets)) / positives - 1
    assert federation.plan.task.class_weights == pytest.approx(tuple(expected))  # type: ignore[attr-defined]


def test_batched_agrees_with_serial_in_one_round() -> None:
    federation, _ = assemble(parts())
    rows = []
    for name in ("serial", "batched"):
        engine = make_engine(name)
        engine.start(federation.plan)
        replies = engine.train(federation.begin().row, [Job(client, 0) for client in range(3)])
        rows.append(torch.stack([reply.row for reply in replies]))
    torch.testing.assert_close(rows[1], rows[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("effect", ["one-hot", "add", "erase"])
def test_a_model_blown_up_obeys_no_trigger(effect: str) -> None:
    attack = build("attack", {"name": "badnets", "target": 0, "effect": effect})
    federation, oracle = assemble(parts(attack=attack))
    found = oracle.score(torch.full_like(federation.begin().row, float("nan")), 1)
    assert found["asr"] == 0.0
    assert found["unanswered"] == 1.0


def test_one_hospital_alone_may_poison_the_whole_of_the_data() -> None:
    made = parts()
    alone = parts(hospitals=made.hospitals[:1], threat=ThreatModel(clients=(0,)))
    assert "asr" in scores(*assemble(alone))
