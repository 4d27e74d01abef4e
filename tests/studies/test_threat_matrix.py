"""The threat matrix: it is planned and put together, and a cut-down one is played."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import asepsis
from asepsis.experiments.library import profiles
from asepsis.experiments.matrix import matrix
from asepsis.experiments.plan import load_study, plan_study
from asepsis.experiments.results import Results
from asepsis.experiments.sifting import sifted
from asepsis.experiments.threats import THREATS, Goal, threat_of
from asepsis.report.html import render

needs_data = pytest.mark.skipif(
    "ASEPSIS_DATA" not in os.environ,
    reason="needs real data: set ASEPSIS_DATA to a folder with medmnist/... and ehr/...",
)
SURVEY = {threat.key for threat in THREATS}
CUT: dict[str, Any] = {
    "federation.rounds": 4,
    "threat.starts_at": 1,
    "over": {"attack": ["none", "label-flip", "generator-poison", "badnets"]},
    "devices": False,
}


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_it_is_planned_with_every_threat_of_the_survey(profile: str) -> None:
    assert profile in profiles("threat-matrix")
    study = load_study("threat-matrix", profile=profile)
    assert study.exploratory == (len(study.seeds) < 5)
    assert study.skip_refused
    for modality in ("imaging", "records", "devices"):
        mine = [one for one in study.scenarios if one.modality == modality]
        named = [part["name"] for one in mine for part in one.watch]
        for one in mine:
            asked = [item if isinstance(item, str) else item["name"] for item in one.over["attack"]]
            named += [name for name in asked if name != "none"]
        found = {threat.key for name in named if (threat := threat_of(name)) is not None}
        assert found == SURVEY
        assert sum(one.tunes for one in mine) == 1


@pytest.mark.parametrize(("profile", "least"), [("quick", 6), ("full", 9)])
def test_every_kind_of_defense_is_asked_for(profile: str, least: int) -> None:
    for one in load_study("threat-matrix", profile=profile).scenarios:
        if one.watch:
            assert len(one.over["defenses"]) > least


@pytest.mark.slow
@needs_data
def test_it_is_put_together_and_only_what_cannot_work_is_left_out() -> None:
    plan = sifted(plan_study(load_study("threat-matrix")), "serial")
    reasons = {(item.scenario.partition(":")[0], item.attack) for item in plan.refused}
    assert reasons >= {("records", "generator-poison"), ("devices", "generator-poison")}
    assert {who for place, who in reasons if place == "imaging"} == set()
    assert len(plan.cells) > 150


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Results:
    out: Path = tmp_path_factory.mktemp("matrix") / "r"
    return asepsis.run("threat-matrix", settings=CUT, out=out, jobs=2)


@pytest.mark.slow
@needs_data
def test_a_cut_down_one_has_a_row_for_every_attack_and_observer(played: Results) -> None:
    assert set(played.frame()["status"]) == {"success"}
    rows = matrix(played).rows
    named = {(row.modality, row.attack) for row in rows}
    for modality in ("imaging", "records", "devices"):
        assert {(modality, "label-flip"), (modality, "badnets")} <= named
        goals = {row.threat.goal for row in rows if row.modality == modality}
        assert goals == set(Goal)
    assert all(one.reason for row in rows for one in row.fields.values() if not one.level)
    [flip] = [row for row in rows if (row.modality, row.attack) == ("imaging", "label-flip")]
    assert flip.bare.harm.n == 1


@pytest.mark.slow
@needs_data
def test_its_report_says_that_one_seed_is_exploratory(played: Results) -> None:
    page = render(played)
    assert "One seed: no intervals, exploratory." in page
    assert "not public to us" in page
    assert "the attack does not work on data of kind" in page
