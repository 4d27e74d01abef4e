"""What every training attack must do, for every kind of sample that it says it can attack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from asepsis.core.contracts import TrainAttack
from asepsis.core.registry import build, entries, lookup
from asepsis.core.rng import Streams
from asepsis.core.samples import Array, DataFacts, Hospital, Kind, Samples
from asepsis.core.threat import ThreatModel
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import assemble
from asepsis.federation.federation import RoundState, Schedule
from asepsis.federation.parts import Parts
from asepsis.federation.round import RoundOutcome, play_round

ATTACKS: dict[str, tuple[dict[str, Any], ...]] = {
    "a3fl": ({"trigger_steps": 4, "unlearn_every": 2, "unlearn_epochs": 1}, {"balance": 0.0}),
    "adaptive-poisoning": (
        {"calls": 3},
        {"inner": {"name": "inverted-loss", "steps": 3}, "calls": 3},
    ),
    "feature-collision": ({"steps": 3}, {"steps": 3, "refresh": 1, "target": 2, "opacity": 0.0}),
    "generator-poison": ({"steps": 2}, {"mode": "one-to-one", "source": 2, "steps": 0}),
    "gradient-matching": ({"steps": 2, "restarts": 1}, {"steps": 2, "refresh": 1, "poisons": 2}),
    "inverted-loss": ({}, {"steps": 3, "reach": 2.0, "refresh": 1}),
    "chameleon": ({"contrast_epochs": 1, "epochs": 1}, {"contrast_epochs": 0, "norm_bound": 0.1}),
    "alternating-minimization": ({}, {"stealth_steps": 1, "boost": 1.0, "norm_bound": 0.5}),
    "decoys": ({}, {"decoys": 0, "constraint": 0.0, "norm_bound": 0.5, "tune": False}),
    "durable": (
        {"gan_steps": 2, "gan_refresh": 1, "futures": 2, "horizon": 2},
        {"gan": False, "consolidation": "freeze-encoder", "boost": None, "norm_bound": 0.5},
    ),
    "model-replacement": ({}, {"boost": 2.0, "norm_bound": 0.5, "epochs": 1, "lr": 0.01}),
    "neurotoxin": ({}, {"mask_ratio": 0.5, "clean_batches": None, "norm_bound": 0.5}),
    "optimized-poisoning": ({}, {"alpha": 0.1, "importance_batches": 1, "norm_bound": 0.5}),
    "perdoor": ({}, {"delta": 0.1, "boost": 1.0, "steps_taken": 2, "norm_bound": 0.5}),
    "quiet-trigger": (
        {},
        {"maps": "input", "penalty": 1.0, "norm_bound": 0.5},
        {"hides": "change"},
    ),
}
CLASSES = ("a", "b", "c")
TASKS = {
    Kind.IMAGE: ("classification", {"name": "small-cnn"}),
    Kind.MULTILABEL_IMAGE: ("multilabel", {"name": "small-cnn"}),
    Kind.VOLUME: ("classification", {"name": "mlp"}),
    Kind.TABLE: ("tabular", {"name": "mlp"}),
    Kind.SEQUENCE: ("sequence", {"name": "cnn1d"}),
}


def inputs(kind: Kind, n: int, rng: np.random.Generator) -> Array:
    if kind is Kind.TABLE:
        return rng.normal(size=(n, 6)).astype(np.float32)
    if kind is Kind.SEQUENCE:
        return rng.normal(size=(n, 40, 2)).astype(np.float32)
    shape = (n, 12, 12, 12) if kind is Kind.VOLUME else (n, 28, 28)
    return rng.integers(0, 200, size=shape, dtype=np.uint8)


def samples(kind: Kind, n: int, seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    several = (rng.random((n, len(CLASSES))) < 0.4).astype(np.uint8)
    labels = several if kind is Kind.MULTILABEL_IMAGE else rng.integers(len(CLASSES), size=n)
    ids = np.arange(n)
    return Samples(inputs(kind, n, rng), labels, ids, ids)


def parts(attack: TrainAttack, kind: Kind) -> Parts:
    task, model = TASKS[kind]
    return Parts(
        facts=DataFacts(kind, CLASSES),
        hospitals=tuple(
            Hospital(i, f"h{i}", *(samples(kind, n, 10 * i + n) for n in (20, 6, 6)))
            for i in range(4)
        ),
        task=build("task", task),
        model=build("model", model),
        trainer=build("trainer", {"name": "sgd", "steps": 2, "batch_size": 8}),
        pipeline=build_pipeline(["mean"]),
        server=build("server-optimizer", "fedavg"),
        threat=ThreatModel(clients=(1, 2), starts_at=1, knows_defense=True),
        attack=attack,
        schedule=Schedule(rounds=3),
        streams=Streams(0),
    )


def played(
    attack: TrainAttack, kind: Kind, rounds: int = 3, start: RoundState | None = None
) -> tuple[RoundState, list[RoundOutcome]]:
    federation, _ = assemble(parts(attack, kind))
    engine = make_engine("serial")
    engine.start(federation.plan)
    state, outcomes = start or federation.begin(), []
    while state.round < rounds:
        state, outcome = play_round(federation, engine, state)
        outcomes.append(outcome)
    return state, outcomes


def cases() -> list[Any]:
    attacks = [
        (f"{name}-{number}", build("attack", {"name": name, **options}))
        for name, choices in ATTACKS.items()
        for number, options in enumerate(choices)
    ]
    return [
        pytest.param(attack, kind, id=f"{label}-{kind}")
        for label, attack in attacks
        for kind in sorted(attack.kinds)
    ]


def test_every_training_attack_is_in_the_suite() -> None:
    known = {e.name for e in entries("attack") if hasattr(lookup("attack", e.name), "train")}
    assert known == set(ATTACKS)


@pytest.mark.parametrize(("attack", "kind"), cases())
def test_it_trains_repeats_and_resumes(attack: TrainAttack, kind: Kind) -> None:
    global_rng = torch.random.get_rng_state()
    end, outcomes = played(attack, kind)
    assert bool(torch.isfinite(end.row).all())
    assert not outcomes[0].hostile
    assert not outcomes[0].crafted
    assert outcomes[1].hostile == (1, 2)
    assert all(np.isfinite(v) or n.startswith("loss") for n, v in outcomes[2].crafted.items())
    assert torch.equal(global_rng, torch.random.get_rng_state())

    again, _ = played(attack, kind)
    assert torch.equal(end.row, again.row), "it repeats"

    half, _ = played(attack, kind, rounds=2)
    tensors = {name: tensor.clone() for name, tensor in half.tensors().items()}
    resumed, _ = played(attack, kind, start=RoundState.from_tensors(tensors))
    assert torch.equal(end.row, resumed.row), "its state fits in a checkpoint"
