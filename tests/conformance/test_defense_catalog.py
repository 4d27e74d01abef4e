"""Every defense of the survey is there, in the room that it says, and does something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asepsis.core.registry import DEFENSES, Entry, build, entries, lookup
from asepsis.core.rng import Streams
from asepsis.core.updates import Individual, Rows
from asepsis.defenses.pipeline import Pipeline
from asepsis.defenses.stack import ORDER, build_pipeline
from asepsis.testing import cohorts

NAMES = """
mean median trimmed-mean geometric-median krum multi-krum bulyan meamed mda centered-clipping
sign-sgd slsgd foundationfl lasa caf smea norm-clip adaptive-clip arc nnm bucketing sparsify
fltrust foolsgold dnc signguard flame deepsight fldetector rflbat dos lfighter three-sigma
feddetect reputation fair-detector trust-weighted autoencoder weak-dp robust-lr crfl ledger
smpc-verify grad-cam strip activation-clustering spectral-signatures neural-cleanse
client-clip client-noise gradient-pruning soteria dp-mean dp-fedavg
"""
KNOWN = {"received", "layout", "head", "network", "root", "history", "side:loss"}
SHOWN = entries(*DEFENSES)
STAGES = [e for e in entries(*ORDER, "recipe") if e.kind not in ("client", "transport", "audit")]
"""What the server does; a hospital's own stages are tried on hospitals: see their tests."""
ROUNDS, N, BAD = 25, 15, 3
OTHERWISE = {
    "mean": "it is what others are compared with",
    "robust-lr": "it turns coordinates about which signs disagree, and here most agree",
    "fldetector": "it needs a model that moves from round to round: see its own tests",
    "lfighter": "it looks at labels flipped in the output layer: see its own tests",
    "deepsight": "it looks at how uniform the training data were: see its own tests",
    "exclude": "it drops whom it is told to, and by default is told nobody: see its own tests",
    "monitor": "it only looks: see its own tests",
}
"""Stages that this attack does not concern."""
JUDGES = [e for e in STAGES if e.kind in ("aggregator", "screen")]
CONCERNED = [e for e in STAGES if e.name not in OTHERWISE]

BEHIND = {"bucketing": ["median"]}
"""Buckets alone change no mean."""


def test_every_defense_of_the_survey_is_there() -> None:
    assert not set(NAMES.split()) - {entry.name for entry in SHOWN}


@pytest.mark.parametrize("entry", SHOWN, ids=[f"{e.kind}-{e.name}" for e in SHOWN])
def test_it_names_its_source_its_fidelity_and_what_it_knows(entry: Entry) -> None:
    assert entry.paper
    assert entry.fidelity in ("code", "paper", "abstract", "own")
    made = build(entry.kind, entry.name)
    assert set(getattr(made, "needs", ())) <= KNOWN
    if entry.kind in ("aggregator", "screen"):
        assert not hasattr(made, "smallest") or made.smallest() >= 1


def stack_of(name: str) -> Pipeline:
    made = build(DEFENSES, name)
    told = {"name": name, "f": BAD} if hasattr(made, "f") else name
    return build_pipeline([told, *BEHIND.get(name, [])])


def rows_in(round_: int) -> torch.Tensor:
    """Honest rows around a direction that all share; hostile ones turned round and longer."""
    rng = np.random.default_rng(round_)
    rows = torch.linspace(0.5, 1.5, 6) + torch.from_numpy(rng.normal(scale=0.2, size=(N, 6)))
    rows[-BAD:] = -8 * rows[:-BAD].mean(0) * torch.from_numpy(rng.uniform(0.5, 1.5, (BAD, 1)))
    return rows.float()


def delivery(rows: torch.Tensor) -> Individual:
    losses = torch.linspace(1.0, 1.1, N, dtype=torch.float64)
    losses[-BAD:] = 30.0
    counts = torch.full((N,), 20.0, dtype=torch.float64)
    return Individual(tuple(range(N)), Rows(rows), counts, {"loss": losses})


@pytest.mark.parametrize("entry", JUDGES, ids=[entry.name for entry in JUDGES])
def test_who_judges_hospitals_says_what_a_low_verdict_means(entry: Entry) -> None:
    stage = build(entry.kind, entry.name)
    made = stage.apply(stage.init(6), delivery(rows_in(0)), cohorts.context(dim=6))[1]
    said = getattr(stage, "why", "")
    assert bool(said) == bool(made.verdicts)
    assert len(said) < 80
    assert not said.endswith(".")


def test_stages_that_this_attack_does_not_concern_are_there_and_tested_elsewhere() -> None:
    assert set(OTHERWISE) <= {entry.name for entry in STAGES}
    tests = Path(__file__).parents[1] / "unit" / "defenses"
    written = "".join(path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py"))
    for entry in [entry for entry in STAGES if entry.name in OTHERWISE]:
        named = (f'"{entry.name}"', lookup(entry.kind, entry.name).__name__)
        assert any(name in written for name in named), entry.name


@pytest.mark.parametrize("entry", CONCERNED, ids=[entry.name for entry in CONCERNED])
def test_it_changes_the_outcome_under_an_attack(entry: Entry) -> None:
    """No defense may do nothing in silence: what it gives is not what the plain mean gives."""
    stack = stack_of(entry.name)
    state: dict[str, Any] = stack.init(6)
    differs = []
    for round_ in range(ROUNDS):
        rows = rows_in(round_)
        args = (delivery(rows), round_, Streams(0), cohorts.desk(6))
        state, outcome = stack.receive(state, *args)
        if outcome.aggregate is None:
            continue
        differs.append(not torch.allclose(outcome.aggregate.delta, rows.mean(0), atol=1e-4))
        proven = any(report.changed > 1e-6 for report in outcome.stages)
        assert proven or not differs[-1]
    assert any(differs)
