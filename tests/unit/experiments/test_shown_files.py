"""Files that other components than the data name: what is written of them, and what never is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asepsis.experiments.patients import Screen, private, specified
from asepsis.experiments.spec import Experiment, parse

PLACE = "/home/eva/CanaryPlace"


def spec(dataset: Any, **parts: Any) -> Experiment:
    found: Experiment = parse(Experiment, {"dataset": dataset, **parts})
    return found


OWN = {"name": "csv", "path": f"{PLACE}/ward.csv", "target": "died"}


@pytest.mark.parametrize(
    "parts",
    [
        {"attack": {"name": "a", "of": f"{PLACE}/x.npz"}},
        {"attack": {"name": "a", "of": [{"deep": f"{PLACE}/x.npz"}]}},
        {"probes": {"one": {"name": "a", "of": f"{PLACE}/x.npz"}}},
        {"inspect": [{"name": "a", "of": f"{PLACE}/x.npz"}]},
        {"observe": [{"name": "a", "of": f"{PLACE}/x.npz"}]},
        {"federation": {"server": {"name": "a", "of": f"{PLACE}/x.npz"}}},
        {"model": {"name": "module", "at": f"{PLACE}/net.py:Net"}},
        {"model": {"name": "module", "at": "CanaryPlace/net.py:Net"}},
    ],
)
def test_no_component_names_a_place_beside_private_data(parts: dict[str, Any]) -> None:
    one = spec(OWN, **parts)
    assert private(one)
    shown = specified(one, {})
    assert "CanaryPlace" not in json.dumps(shown)
    assert shown["screened"] is True


def test_beside_public_data_a_network_keeps_its_bare_name() -> None:
    model = {
        "name": "module",
        "at": f"{PLACE}/net.py:Net",
        "weights": "~/CanaryPlace/w.safetensors",
    }
    shown = specified(
        spec("breast-cancer", model=model, attack={"name": "a", "of": "C:\\x\\y"}), {}
    )
    assert shown["spec"]["model"] == {
        "name": "module",
        "at": "net.py:Net",
        "weights": "w.safetensors",
    }
    assert shown["spec"]["attack"]["of"] == "y"
    assert shown["screened"] is True


def test_relative_places_and_plain_options_stay_as_they_are() -> None:
    model = {"name": "module", "at": "nets/net.py:Net"}
    assert specified(spec("breast-cancer", model=model), {}).keys() == {"spec"}


def test_files_of_one_name_stay_apart() -> None:
    at = [f"/{folder}/net.py:Net" for folder in ("one", "two", "three")]
    screen = Screen.of(spec("breast-cancer", model={"name": "module", "at": a}) for a in at)
    shown = [screen.table({"at": a})["at"] for a in at]
    assert shown == ["net.py:Net", "net.py:Net (2)", "net.py:Net (3)"]


def test_a_label_names_no_folder(tmp_path: Path) -> None:
    at = f"{tmp_path}/net.py:Net"
    screen = Screen.of([spec("breast-cancer", model={"name": "module", "at": at})])
    assert screen.table({"labels": {"model.at": at}}) == {"labels": {"model.at": "net.py:Net"}}
