"""What a robust rule gives back, with each hospital hostile in turn: cases by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from report_study import FLIP, experiment, record

from asepsis.core.errors import ConfigError
from asepsis.experiments.claims import measured
from asepsis.experiments.naming import check_claims
from asepsis.experiments.plan import Cell
from asepsis.experiments.recovery import recovered
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Claim, Scenario, Study, parse

TITLE = "centers"
AXIS = "threat.hostile"
CLEAN = {"mean": 0.9, "median": 0.88}
POISONED = {"mean": (0.4, 0.5, 0.6), "median": (0.85, 0.6, 0.9)}
"""With hospital 0, 1, 2 hostile: 0.9, 0.25 and 1.0 of the loss come back."""


def study(*claims: Claim, seeds: tuple[int, ...] = (0,)) -> Results:
    runs = []
    for rule in CLEAN:
        for seed in seeds:
            for place in range(3):
                labels = ((AXIS, str(place)),)
                for attack, component, value in (
                    ("none", None, CLEAN[rule]),
                    ("label-flip", FLIP, POISONED[rule][place]),
                ):
                    spec = experiment(component, rule, seed, "phantom")
                    threat = spec.threat.model_copy(update={"hostile": (place,)})
                    spec = spec.model_copy(update={"threat": threat})
                    cell = Cell(TITLE, attack, rule, seed, spec, labels)
                    runs.append(Run(cell, record(spec, {"balanced_accuracy": value})))
    scenario = Scenario(title=TITLE, experiment=experiment(None, "mean", 0, "phantom"))
    return Results(Study(name="c", claims=claims, scenarios=(scenario,)), runs)


def claim(attack: str = "label-flip · *") -> Claim:
    about = {"attack": attack, "defense": "median", "instead_of": "mean"}
    return Claim(says="it comes back", paper=0.8, metric="recovery", **about)


def test_the_share_of_a_loss_that_comes_back() -> None:
    groups = {(g.attack, g.defense, g.labels[0][1]): g for g in study().groups()}
    found = [
        recovered(groups["label-flip", "median", place], groups["label-flip", "mean", place])[0]
        for place in "012"
    ]
    assert found == pytest.approx([0.9, 0.25, 1.0])


def test_where_nothing_was_lost_no_share_is_estimable() -> None:
    clean = [g for g in study().groups() if g.attack == "none"]
    by_rule = {g.defense: g for g in clean}
    assert math.isnan(recovered(by_rule["median"], by_rule["mean"])[0])


def test_a_claim_is_about_the_median_over_hospitals() -> None:
    [item] = measured(study(claim(), seeds=(0, 1, 2)))
    assert item.value.mean == pytest.approx(0.9)
    assert item.value.n == 3


def test_a_claim_may_be_about_one_hospital() -> None:
    [item] = measured(study(claim(f"label-flip · {AXIS}=1")))
    assert item.value.mean == pytest.approx(0.25)


@pytest.mark.parametrize(
    "about",
    [
        {"metric": "recovery", "instead_of": None},
        {"metric": "recovery", "instead_of": "median"},
        {"metric": "accuracy", "attack": "label-flip · *"},
    ],
)
def test_claims_that_could_not_be_right_are_refused(about: dict[str, Any]) -> None:
    table = {"says": "x", "paper": 1.0, "attack": "label-flip", "defense": "median"}
    with pytest.raises(ConfigError):
        parse(Claim, {**table, **about})


def test_all_rows_of_an_attack_are_those_of_one_scenario() -> None:
    results = study()
    elsewhere = [replace(run, cell=replace(run.cell, scenario="other")) for run in results.runs]
    cells = [run.cell for run in [*results.runs, *elsewhere]]
    check_claims([claim().model_copy(update={"scenario": TITLE})], cells)
    with pytest.raises(ConfigError, match="several cells"):
        check_claims([claim()], cells)
