"""A small federation on a table, and what one of its hospitals has at home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asepsis.core.contracts import Attack, TrainAttack
from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples
from asepsis.core.threat import Sees, ThreatModel
from asepsis.core.workshop import Workshop
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import Scorer, assemble
from asepsis.federation.federation import Federation, RoundState, Schedule
from asepsis.federation.hostile import workshop
from asepsis.federation.parts import Parts
from asepsis.federation.round import RoundOutcome, play_round

FACTS = DataFacts(Kind.TABLE, ("a", "b", "c"))
FEATURES = 12


def samples(n: int, seed: int) -> Samples:
    """Three classes, told apart by three features; the last is 0 in everyone, others noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    table = rng.normal(size=(n, FEATURES))
    table[:, :3] += 2.0 * np.eye(3)[labels]
    table[:, -1] = 0.0
    ids = np.arange(n)
    return Samples(table.astype(np.float32), labels, ids, ids)


def parts(attack: Attack | None, **changes: Any) -> Parts:
    """Six hospitals of 48 patients, number 1 hostile."""
    made = Parts(
        facts=FACTS,
        hospitals=tuple(
            Hospital(i, f"h{i}", samples(48, i), samples(6, 50 + i), samples(60, 90 + i))
            for i in range(6)
        ),
        task=build("task", "tabular"),
        model=build("model", {"name": "mlp", "hidden": [16]}),
        trainer=build("trainer", {"name": "sgd", "epochs": 1, "batch_size": 16}),
        pipeline=build_pipeline(["mean"]),
        server=build("server-optimizer", "fedavg"),
        threat=ThreatModel(clients=(1,), sees=Sees.OWN),
        attack=attack,
        schedule=Schedule(rounds=60),
        streams=Streams(0),
    )
    return replace(made, **changes)


def played(made: Parts, rounds: int) -> tuple[Federation, Scorer, RoundState, list[RoundOutcome]]:
    """Play so many rounds."""
    federation, oracle = assemble(made)
    engine = make_engine("serial")
    engine.start(federation.plan)
    state, outcomes = federation.begin(), []
    for _ in range(rounds):
        state, outcome = play_round(federation, engine, state)
        outcomes.append(outcome)
    return federation, oracle, state, outcomes


def shop_of(
    attack: TrainAttack, round_: int = 0, received: Tensor | None = None, **changes: Any
) -> Workshop:
    """What hospital 1 has at home, at the first model or at another one."""
    federation, _ = assemble(parts(attack, **changes))
    row = federation.begin().row if received is None else received
    cohort = federation.cohort(round_)
    return workshop(federation, 1, cohort, (1,), federation.facts_of(round_, cohort, row))


def excess(
    attack: Attack, *, first: int, attacked: int, after: Sequence[int], **changes: Any
) -> list[float]:
    """Attack success above the attack-free twin's, so many rounds after the last attacked one."""
    threat = ThreatModel(clients=(1,), sees=Sees.OWN, starts_at=first, rounds=attacked)
    curves = []
    for who in (attack, None):
        federation, _ = assemble(parts(who, threat=threat, **changes))
        _, judge = assemble(parts(attack, threat=threat, **changes))
        engine = make_engine("serial")
        engine.start(federation.plan)
        state, found = federation.begin(), []
        for round_ in range(first + attacked + max(after)):
            state, _ = play_round(federation, engine, state)
            if round_ - (first + attacked - 1) in after:
                found.append(judge.score(state.row, round_)["asr"])
        curves.append(found)
    return [mine - clean for mine, clean in zip(*curves, strict=True)]


def rng() -> np.random.Generator:
    """The attack's generator."""
    return np.random.default_rng(7)


def flat(tensors: list[Tensor]) -> Tensor:
    """Put tensors end to end, as in a row."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
