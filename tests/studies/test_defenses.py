"""The study of defenses as its quick profile has it, one seed of fifteen hospitals."""

from __future__ import annotations

import pytest

import asepsis
from asepsis.core.registry import entries
from asepsis.experiments.plan import load_study
from asepsis.experiments.results import Results
from asepsis.report.defended import defenses_grid
from asepsis.report.findings import Scenario, proofs, scenarios

pytestmark = pytest.mark.slow
ELSEWHERE = {
    "centered-clipping": "its radius of 10 is larger than any of these updates",
    "crfl": "its bound is wide; noise alone keeps nobody out",
    "fldetector": "it judges from round 21 on, when the model is lost",
}


@pytest.fixture(scope="module")
def study() -> Results:
    """Every defense against inner product manipulation, and an attacker who asks the defense."""
    first = load_study("defenses").scenarios[0]
    over = {"attack": ["none", first.over["attack"][1], "adaptive"], **without_attack(first.over)}
    table = first.experiment.model_dump(mode="json", exclude_none=True, exclude={"seed", "probes"})
    return asepsis.run({**table, "over": over, "seeds": [0]}, jobs=2)


def without_attack(over: dict[str, list[object]]) -> dict[str, list[object]]:
    return {axis: values for axis, values in over.items() if axis != "attack"}


@pytest.fixture(scope="module")
def scenario(study: Results) -> Scenario:
    [found] = scenarios(study)
    return found


def utility(scenario: Scenario, attack: str, defense: str) -> float:
    finding = scenario.at(attack, defense)
    assert finding is not None
    return finding.utility.mean


def test_every_run_ends_with_figures(study: Results) -> None:
    assert not [run.cell.defense for run in study.runs if not run.ok]


def test_the_mean_falls_and_the_robust_rules_hold(scenario: Scenario) -> None:
    assert utility(scenario, "none", "mean") > 0.9
    assert utility(scenario, "ipm", "mean") < utility(scenario, "none", "mean") - 0.15
    for rule in ("median", "trimmed-mean", "krum", "multi-krum", "bulyan", "fltrust", "flame"):
        assert utility(scenario, "ipm", rule) > 0.88, rule


def test_every_defense_proves_that_it_changed_something(scenario: Scenario) -> None:
    idle = {
        stage["stage"]
        for finding in scenario.findings
        if finding.attack == "ipm"
        for stage in proofs(finding.group)
        if not stage["active"]
    }
    assert idle <= set(ELSEWHERE)


def test_every_defense_has_its_line_with_the_adaptive_row(scenario: Scenario) -> None:
    grid = defenses_grid(scenario)
    adaptive = grid.heads.index("under an attacker who knows it")
    assert all(row[adaptive].text != "not tried" for row in grid.rows)
    told = " ".join(row[0].text for row in grid.rows)
    stages = {e.name for e in entries("aggregator", "screen") if e.origin == "asepsis"}
    stages.remove("exclude")  # an oracle that others are compared with
    assert not [name for name in stages if name not in told]


def test_knowing_the_defense_hurts_some_that_the_static_attack_does_not(scenario: Scenario) -> None:
    fooled = [
        defense
        for defense in scenario.defenses
        if utility(scenario, "ipm", defense) > 0.88 and utility(scenario, "adaptive", defense) < 0.7
    ]
    assert fooled
