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
from asepsis.experiments.resolve import resolve
from asepsis.experiments.results import Results
from asepsis.experiments.run import RunOptions, run_experiment
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


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_all_four_attackers_and_one_who_knows_the_defense_are_on_every_modality(
    profile: str,
) -> None:
    study = load_study("threat-matrix", profile=profile)
    for modality in {one.modality for one in study.scenarios}:
        mine = [one for one in study.scenarios if one.modality == modality]
        watching = [part.get("sees", "delivery") for one in mine for part in one.watch]
        assert set(watching) == {"delivery", "messages"}  # a curious server, an eavesdropper
        [wire] = [one for one in mine if ["signed", "monitor", "mean"] in one.over["defenses"]]
        asked = [part.get("does", "alter") for part in wire.over["attack"] if part != "none"]
        assert asked == ["alter", "drop", "replay"]
        [tuning] = [one for one in mine if one.tunes]
        [main] = [one for one in mine if one.watch]
        for one in (tuning, main):
            named = [part if isinstance(part, str) else part["name"] for part in one.over["attack"]]
            assert "adaptive-poisoning" in named
            assert one.experiment.threat.knows_defense


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


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("profile", ["quick", "full"])
def test_data_can_be_dealt_out_with_every_seed(profile: str) -> None:
    """What only the first seed can be put together with would fail run by run."""
    plain = {
        (str(cell.spec.dataset), str(cell.spec.partition), cell.seed): cell.spec.alone()
        for cell in plan_study(load_study("threat-matrix", profile=profile)).cells
    }
    for spec in plain.values():
        resolve(spec)


@pytest.mark.slow
@needs_data
def test_signatures_stop_who_alters_and_replays_and_only_notice_who_drops() -> None:
    """On heart disease's four hospitals, two of which have their messages touched a round."""
    study = load_study("threat-matrix", {"federation.rounds": 5, "threat.starts_at": 1})
    cells = [
        cell for cell in plan_study(study).cells if cell.scenario == "records: somebody on the wire"
    ]
    runs = {
        (cell.attack, cell.defense): run_experiment(cell.spec, None, RunOptions(engine="serial"))
        for cell in cells
    }

    def told(attack: str, figure: str) -> list[float]:
        lines = runs[attack, "signed + monitor + mean"][2:-1]  # from the first attacked round on
        return [line["result"]["channel"][figure] for line in lines]

    def accuracy(attack: str, defense: str) -> float:
        return float(runs[attack, defense][-1]["result"]["last"]["balanced_accuracy"])

    altered, dropped, replayed = (
        f"intercept ({x})" for x in ("scale=-8.0", "does=drop", "does=replay")
    )
    assert told(altered, "altered") == [2, 2, 2, 2]
    assert told(replayed, "replayed")[1:] == [2, 2, 2]
    assert told(dropped, "missing") == [2, 2, 2, 2]
    assert told(dropped, "altered") == told(dropped, "replayed") == [0, 0, 0, 0]
    clean = accuracy("none", "monitor + mean")
    left = accuracy(dropped, "monitor + mean")
    assert accuracy(dropped, "signed + monitor + mean") == left
    # What is refused is lost: who can alter can still do what a dropper does, and no more.
    assert accuracy(altered, "signed + monitor + mean") == left
    assert accuracy(altered, "monitor + mean") < min(left, clean) - 0.1


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
