"""A small run with a ledger, and what tests read of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asepsis.experiments.ledgers import verify_run
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Store

ROUNDS = 5
SIGNED = {"name": "ledger", "key": "file"}
TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "partition": {"name": "dirichlet", "alpha": 5.0},
    "trainer": {"name": "sgd", "steps": 1, "batch_size": 16},
    "federation": {"hospitals": 5, "rounds": ROUNDS},
    "threat": {"hostile": 1, "starts_at": 2},
    "attack": "sign-flip",
    "defenses": ["krum", "ledger"],
}


def spec(**changes: Any) -> Experiment:
    made: Experiment = parse(Experiment, {**TABLE, **changes})
    return made


def serial(**options: Any) -> RunOptions:
    return RunOptions(engine="serial", **options)


def path_of(store: Store, made: Experiment) -> Path:
    return store.ledger(made.digest())


def entries(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [line["entry"] for line in lines if "entry" in line]


def kinds(store: Store, **options: Any) -> list[str]:
    found = verify_run(store, **options)
    return [finding.kind for verdict in found.values() for finding in verdict.findings]


def whole_run(folder: Path) -> tuple[Store, list[Any]]:
    """Run the small experiment whole; return where, and its record."""
    store = Store(folder).open()
    return store, run_experiment(spec(), store, serial())
