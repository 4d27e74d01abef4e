"""Nothing that was fitted to a private file is written beside the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.registry import build
from asepsis.core.samples import DataFacts, Kind, Samples
from asepsis.experiments.fitting import FITTED, recorded
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Store

TRIGGERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"name": "semantic"}, {"attribute", "feature", "threshold"}),
    ({"name": "edge-case"}, {"means", "deviations", "threshold"}),
    (
        {"name": "badnets", "trigger": {"name": "feature-combination", "beyond": 0.0}},
        {"features", "values"},
    ),
    ({"name": "badnets"}, {"features", "values"}),
]


def private(folder: Path) -> tuple[str, set[str]]:
    """Write a table of 120 patients; return its path, and its values as a record would."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(120, 3)).astype(np.float32)
    labels = (values[:, 0] + rng.normal(size=120) > 0).astype(int)
    rows = zip(values.tolist(), labels.tolist(), strict=True)
    lines = [",".join(map(repr, [*row, label])) for row, label in rows]
    path = folder / "own.csv"
    path.write_text("\n".join(["a,b,c,target", *lines]))
    return str(path), {repr(value) for value in values.ravel().tolist()}


@pytest.mark.parametrize(("attack", "fitted"), TRIGGERS)
def test_no_value_of_a_private_table_reaches_the_results(
    tmp_path: Path, attack: dict[str, Any], fitted: set[str]
) -> None:
    path, canaries = private(tmp_path)
    table = {
        "dataset": {"name": "csv", "path": path},
        "partition": "iid",
        "federation": {"hospitals": 3, "rounds": 1},
        "trainer": {"name": "sgd", "steps": 1, "batch_size": 8},
        "threat": {"hostile": 1},
        "attack": attack,
    }
    made: Experiment = parse(Experiment, table)
    lines = run_experiment(made, Store(tmp_path / "out").open(), RunOptions(engine="serial"))
    trigger = lines[0]["result"]["resolved"]["components"]["attack"]["trigger"]
    assert {name for name, value in trigger.items() if value == FITTED} == fitted
    kept = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert kept
    for file in kept:
        text = file.read_bytes().decode("latin-1")
        assert not [value for value in canaries if value in text], file.name


def numbers(n: int = 40) -> Samples:
    inputs = np.random.default_rng(1).normal(size=(n, 3)).astype(np.float32)
    return Samples(inputs, np.arange(n) % 2, np.arange(n), np.arange(n))


def test_what_was_asked_for_is_told() -> None:
    spec = {"name": "semantic", "feature": 2, "share": 0.3, "above": False}
    asked = build("attack", {"name": "semantic", "target": 1, "trigger": spec})
    attack = asked.fitted(numbers(), DataFacts(Kind.TABLE, ("a", "b")))
    told = recorded(asked, attack, public=False)
    assert told["target"] == 1
    assert {name: told["trigger"][name] for name in spec} == spec
    assert told["trigger"]["threshold"] == FITTED


def test_of_a_trigger_on_images_what_was_asked_for_is_told() -> None:
    spec = {"name": "blended", "alpha": 0.3}
    asked = build("attack", {"name": "trigger-images", "trigger": spec})
    images = np.zeros((4, 8, 8), np.uint8)
    own = Samples(images, np.arange(4) % 2, np.arange(4), np.arange(4))
    told = recorded(asked, asked.fitted(own, DataFacts(Kind.IMAGE, ("a", "b"))), public=False)
    assert {name: told["trigger"][name] for name in spec} == spec
    assert FITTED not in told["trigger"].values()


def test_of_public_data_everything_is_told() -> None:
    asked = build("attack", "badnets")
    attack = asked.fitted(numbers(), DataFacts(Kind.TABLE, ("a", "b")))
    told = json.loads(json.dumps(recorded(asked, attack, public=True)))
    assert all(isinstance(value, float) for value in told["trigger"]["values"])


@pytest.mark.parametrize("name", ["dba", "a3fl", "sign-flip", "label-flip"])
def test_an_attack_without_fitted_values_is_told_as_it_is(name: str) -> None:
    attack = build("attack", name)
    assert recorded(attack, attack, public=False) == recorded(attack, attack, public=True)
