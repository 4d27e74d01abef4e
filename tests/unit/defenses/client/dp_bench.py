"""A small federation of tables for tests of differential privacy."""

from __future__ import annotations

from typing import Any

import numpy as np

from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples
from asepsis.core.threat import ThreatModel
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation, RoundState, Schedule
from asepsis.federation.parts import Parts
from asepsis.federation.round import RoundOutcome, play_round


def samples(seed: int, count: int) -> Samples:
    rng = np.random.default_rng(seed)
    targets = rng.integers(2, size=count)
    inputs = (rng.normal(size=(count, 5)) + targets[:, None]).astype(np.float32)
    ids = np.arange(count)
    return Samples(inputs, targets.astype(np.int64), ids, ids)


def parts(hospitals: int = 6, size: int = 30, **changes: Any) -> Parts:
    table: dict[str, Any] = {
        "facts": DataFacts(Kind.TABLE, ("no", "yes")),
        "hospitals": tuple(
            Hospital(i, f"h{i}", samples(i, size + i), samples(50 + i, 8), samples(90 + i, 40))
            for i in range(hospitals)
        ),
        "task": build("task", "tabular"),
        "model": build("model", "logistic"),
        "trainer": build("trainer", {"name": "sgd", "steps": 2, "batch_size": 8}),
        "pipeline": build_pipeline(["mean"]),
        "server": build("server-optimizer", "fedavg"),
        "threat": ThreatModel(),
        "attack": None,
        "schedule": Schedule(rounds=5),
        "streams": Streams(0),
    }
    return Parts(**{**table, **changes})


def federation_of(made: Parts) -> Federation:
    return assemble(made)[0]


def played(made: Parts, rounds: int = 1) -> tuple[Federation, RoundState, RoundOutcome]:
    federation = federation_of(made)
    engine = make_engine("serial")
    engine.start(federation.plan)
    state = federation.begin()
    for _ in range(rounds):
        state, outcome = play_round(federation, engine, state)
    return federation, state, outcome
