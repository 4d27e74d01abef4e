"""What hiding costs, on real chest X-rays with the quick profile's own settings, one seed."""

from __future__ import annotations

import os

import pytest

import asepsis
from asepsis.experiments.library import profiles
from asepsis.experiments.plan import load_study, plan_study
from asepsis.experiments.results import Results

needs_data = pytest.mark.skipif(
    "ASEPSIS_DATA" not in os.environ,
    reason="needs real data: set ASEPSIS_DATA to a folder with medmnist/pneumoniamnist.npz",
)
SEEN, SUMMED = "multi-krum", "secure-sum + mean"
CLIPPED = "client-clip + secure-sum + mean"
GROUPED = ("grouped-secure-sum + median", "grouped-secure-sum + multi-krum")


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_it_is_planned_with_every_twin(profile: str) -> None:
    assert profile in profiles("price-of-hiding")
    study = load_study("price-of-hiding", profile=profile)
    assert {"RoFL", "EIFFeL", "ELSA", "ACORN"} <= {
        word.strip("(),.") for word in study.summary.split()
    }
    assert len(plan_study(study).cells) >= 33 * len(study.seeds)


@pytest.fixture(scope="module")
def study() -> Results:
    return asepsis.run("price-of-hiding", seeds=[0], jobs=2)


def success(study: Results, scenario: str, defense: str) -> float:
    found = study.frame()
    mine = found[(found["scenario"] == scenario) & (found["attack"] == "model-replacement")]
    [value] = mine[mine["defense"] == defense]["asr"]
    return float(value)


@pytest.mark.slow
@needs_data
def test_what_is_hidden_from_the_server_is_hidden_from_the_defense(study: Results) -> None:
    free = "hospitals clip if they want to"
    assert success(study, free, "mean") > 0.5
    assert success(study, free, SUMMED) > 0.5
    assert success(study, free, SEEN) < 0.2


@pytest.mark.slow
@needs_data
def test_clipping_helps_only_where_nobody_can_skip_it(study: Results) -> None:
    assert success(study, "hospitals clip if they want to", CLIPPED) > 0.4
    assert success(study, "clipping is attested", CLIPPED) < 0.2


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("defense", GROUPED)
def test_groups_give_a_robust_rule_back(study: Results, defense: str) -> None:
    assert success(study, "hospitals clip if they want to", defense) < 0.2


@pytest.mark.slow
@needs_data
def test_every_run_ends_with_figures(study: Results) -> None:
    assert set(study.frame()["status"]) == {"success"}
