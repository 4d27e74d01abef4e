"""Small federations with unequal hospitals, a server that attacks the sum, and what it learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.core.samples import Array, DataFacts, Hospital, Kind, Samples
from asepsis.core.threat import Evidence, Role, ThreatModel
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import assemble
from asepsis.federation.federation import Schedule
from asepsis.federation.parts import Parts
from asepsis.federation.round import RoundOutcome, play_round
from asepsis.federation.scoring.isolation import score
from asepsis.federation.scoring.truth import Truth

SUM = ({"name": "secure-sum", "fewest": 1}, "mean")
FULL_BATCH = {"name": "sgd", "lr": 0.5, "momentum": 0.0, "batch_size": 1000, "steps": 1}
FEATURES = 6


@dataclass(frozen=True, eq=False)
class Played:
    """One round: what happened, what was claimed, and how right it was."""

    outcome: RoundOutcome
    evidence: Evidence | None
    scores: dict[str, float]
    moved: bool


def samples(seed: int, count: int) -> Samples:
    rng = np.random.default_rng(seed)
    targets = rng.integers(2, size=count)
    inputs = (rng.normal(size=(count, FEATURES)) + targets[:, None]).astype(np.float32)
    return _numbered(inputs, targets)


def images(seed: int, count: int) -> Samples:
    rng = np.random.default_rng(seed)
    targets = rng.integers(2, size=count)
    inputs = rng.integers(0, 128, (count, 12, 12)) + 100 * targets[:, None, None]
    return _numbered(inputs.astype(np.uint8), targets)


def _numbered(inputs: Array, targets: Array) -> Samples:
    ids = np.arange(len(inputs))
    return Samples(inputs, targets.astype(np.int64), ids, ids)


def play(
    attack: str | dict[str, Any],
    *,
    stack: tuple[Any, ...] = SUM,
    hospitals: int = 5,
    rounds: int = 1,
    model: str = "mlp",
    trainer: dict[str, Any] | None = None,
    colluders: tuple[int, ...] = (),
    **schedule: Any,
) -> list[Played]:
    """Play some rounds; hospital i has ``20 + 10 i`` samples."""
    table = model in ("mlp", "logistic")
    make = samples if table else images
    parts = Parts(
        facts=DataFacts(Kind.TABLE if table else Kind.IMAGE, ("no", "yes")),
        hospitals=tuple(
            Hospital(i, f"h{i}", make(i, 20 + 10 * i), make(50 + i, 8), make(90 + i, 8))
            for i in range(hospitals)
        ),
        task=build("task", "tabular" if table else "classification"),
        model=build("model", model),
        trainer=build("trainer", trainer or {"name": "sgd", "lr": 0.1, "batch_size": 8}),
        pipeline=build_pipeline(stack),
        server=build("server-optimizer", "fedavg"),
        threat=ThreatModel(role=Role.SERVER, clients=colluders),
        attack=build("attack", attack),
        schedule=Schedule(rounds=rounds, **schedule),
        streams=Streams(0),
        candidates=1,
    )
    federation, _ = assemble(parts)
    engine = make_engine("serial")
    engine.start(federation.plan)
    state, found = federation.begin(), []
    for _ in range(rounds):
        before = state.row
        state, outcome = play_round(federation, engine, state)
        evidence = outcome.seen[0].evidence if outcome.seen else None
        assert outcome.received is not None
        truth = Truth(
            federation,
            outcome.round,
            outcome.cohort.present,
            outcome.received,
            state.row,
            sent=outcome.sent,
        )
        scores = score(evidence, truth).scores if evidence else {}
        found.append(Played(outcome, evidence, scores, not bool((before == state.row).all())))
    return found
