"""A small federation that somebody watches: what is really so is chosen by the test."""

from __future__ import annotations

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
from asepsis.federation.observing import inferred
from asepsis.federation.parts import Parts
from asepsis.federation.round import play_round
from asepsis.federation.scoring.kinds import judged
from asepsis.federation.scoring.truth import Leak, Truth

FEATURES = 4


def table(inputs: Array, targets: Array, rng: np.random.Generator) -> Samples:
    """Records of patients of whom each has one."""
    ids = rng.integers(2**40, size=len(targets))
    return Samples(inputs.astype(np.float32), targets, ids, ids)


def records(rng: np.random.Generator, targets: Array, shift: float = 1.0) -> Samples:
    """Rows whose features are shifted by their class."""
    noise = rng.normal(size=(len(targets), FEATURES))
    return table(noise + shift * targets[:, None], targets, rng)


def diagnoses(rng: np.random.Generator, share: float, count: int) -> Array:
    """Exactly this share of ones, in random order."""
    ones = round(share * count)
    return rng.permutation(np.repeat([1, 0], [ones, count - ones]))


def hospitals(shares: list[float], count: int = 40, shift: float = 1.0) -> tuple[Hospital, ...]:
    """Hospitals whose training sets have these shares of class 1; others have a half."""
    made = []
    for i, share in enumerate(shares):
        rng = np.random.default_rng(i)
        train, others = diagnoses(rng, share, count), diagnoses(rng, 0.5, 20)
        parts = [records(rng, targets, shift) for targets in (train, others, others)]
        made.append(Hospital(i, f"h{i}", *parts))
    return tuple(made)


def parts(sites: tuple[Hospital, ...], attack: Any, **changes: Any) -> Parts:
    given: dict[str, Any] = {
        "facts": DataFacts(Kind.TABLE, ("no", "yes")),
        "hospitals": sites,
        "task": build("task", "tabular"),
        "model": build("model", "logistic"),
        "trainer": build("trainer", {"name": "sgd", "batch_size": 8, "momentum": 0.0}),
        "pipeline": build_pipeline(["mean"]),
        "server": build("server-optimizer", "fedavg"),
        "threat": ThreatModel(role=Role.SERVER),
        "attack": attack,
        "schedule": Schedule(rounds=3),
        "streams": Streams(0),
        "candidates": 40,
    }
    return Parts(**{**given, **changes})


def watched(made: Parts, rounds: int = 1) -> tuple[Evidence | None, Leak | None]:
    """Play rounds, and return what a curious server claims of the last and how right it is."""
    federation, _ = assemble(made)
    engine = make_engine("serial")
    engine.start(federation.plan)
    state = federation.begin()
    for _ in range(rounds):
        before = state.row
        state, outcome = play_round(federation, engine, state)
    if not outcome.seen:
        return None, None
    truth = Truth(
        federation=federation,
        round=outcome.round,
        present=outcome.cohort.present,
        received=before,
        row=state.row,
        candidates=federation.candidates,
        public=federation.public,
    )
    evidence = outcome.seen[0].evidence
    return evidence, judged(evidence, truth)


def released(made: Parts, rounds: int = 1) -> tuple[Evidence | None, Leak | None]:
    """Play rounds, and return what somebody claims who holds the model that comes out."""
    federation, _ = assemble(made)
    engine = make_engine("serial")
    engine.start(federation.plan)
    state = federation.begin()
    for _ in range(rounds):
        state, outcome = play_round(federation, engine, state)
    facts = federation.facts_of(outcome.round, outcome.cohort, state.row)
    seen = inferred(federation, state.row, facts)
    if not seen:
        return None, None
    truth = Truth(
        federation=federation,
        round=outcome.round,
        present=outcome.cohort.present,
        received=state.row,
        row=state.row,
        candidates=federation.candidates,
        public=federation.public,
    )
    return seen[0].evidence, judged(seen[0].evidence, truth)
