"""What does not fit together is left out, and its reason is the refusal's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import asepsis
from asepsis.core.errors import ConfigError, DataError
from asepsis.experiments.plan import Plan, plan_study, study_from
from asepsis.experiments.preflight import check_plan
from asepsis.experiments.results import load_results
from asepsis.experiments.sifting import sifted

TABLE: dict[str, Any] = {
    "name": "small",
    "skip_refused": True,
    "scenarios": [
        {
            "title": "records",
            "watch": ["loss-mia", {"name": "generator-membership"}],
            "experiment": {
                "dataset": "breast-cancer",
                "partition": "iid",
                "trainer": {"name": "sgd", "steps": 1, "batch_size": 8},
                "federation": {"hospitals": 4, "rounds": 2},
                "threat": {"hostile": 1},
                "candidates": {"members": 4},
            },
            "over": {
                "attack": ["none", "sign-flip", "generator-poison", "badnets"],
                "defenses": [["mean"], [{"name": "krum", "f": 1}]],
            },
        }
    ],
}


def made(**changes: Any) -> Plan:
    return plan_study(study_from({**TABLE, **changes}, "small"))


def test_reasons_are_the_refusals_own_words() -> None:
    with pytest.raises(ConfigError) as caught:
        check_plan(made(skip_refused=False), "serial")
    said = str(caught.value)
    found = sifted(made(), "serial")
    assert found.refused
    assert all(item.reason.split(";")[0] in said for item in found.refused)


def test_a_stack_takes_its_attacks_with_it_and_an_attack_only_itself() -> None:
    refused = {
        (item.attack, item.defense): item.reason for item in sifted(made(), "serial").refused
    }
    assert {who for who, stack in refused if stack == "krum"} >= {"none", "sign-flip", "badnets"}
    assert {who for who, stack in refused if stack == "mean"} == {
        "generator-poison",
        "generator-membership",
    }
    assert "needs at least 5 rows" in refused["sign-flip", "krum"]
    assert "kind 'table'" in refused["generator-poison", "mean"]


def test_what_is_left_is_planned_as_if_nothing_else_had_been_asked_for() -> None:
    found = sifted(made(), "serial")
    assert [(cell.attack, cell.defense) for cell in found.cells] == [
        ("none", "mean"),
        ("sign-flip", "mean"),
        ("badnets", "mean"),
    ]
    assert [part["name"] for part in found.cells[0].spec.observe] == ["loss-mia"]
    assert not any(cell.spec.observe for cell in found.cells[1:])
    assert [probe["name"] for probe in found.cells[0].spec.probes.values()] == ["badnets"]


def test_a_plan_that_does_not_ask_for_it_is_left_alone() -> None:
    plan = made(skip_refused=False)
    assert sifted(plan, "serial") is plan


def test_missing_data_are_no_reason(tmp_path: Path) -> None:
    lost = {"name": "npz", "path": str(tmp_path / "none.npz")}
    [scenario] = TABLE["scenarios"]
    experiment = {**scenario["experiment"], "dataset": lost}
    with pytest.raises(DataError):
        sifted(made(scenarios=[{**scenario, "experiment": experiment}]), "serial")


def test_where_nothing_fits_the_first_reason_is_told() -> None:
    [scenario] = TABLE["scenarios"]
    over = {"attack": ["none"], "defenses": [[{"name": "krum", "f": 1}]]}
    with pytest.raises(ConfigError) as caught:
        sifted(made(scenarios=[{**scenario, "over": over}]), "serial")
    assert "needs at least 5 rows" in str(caught.value)


def test_results_keep_reasons_and_twins_that_are_watched(tmp_path: Path) -> None:
    results = asepsis.run(TABLE, out=tmp_path / "r", engine="serial")
    assert load_results(tmp_path / "r").refused == results.refused != ()
    groups = {group.attack: group for group in results.groups()}
    [(run, twin)] = groups["sign-flip"].good
    assert [item["by"] for item in twin.footer["evidence"]] == ["loss-mia"] * 1
    assert run.footer["evidence"] == []
