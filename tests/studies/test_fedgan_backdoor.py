"""Study 2: as planned, and on real chest X-rays with the quick profile's own setting."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest

import asepsis
from asepsis.experiments.library import profiles
from asepsis.experiments.plan import load_study, plan_study
from asepsis.experiments.results import Results, Run

needs_data = pytest.mark.skipif(
    "ASEPSIS_DATA" not in os.environ,
    reason="needs real data: set ASEPSIS_DATA to a folder with medmnist/pneumoniamnist.npz",
)
ALONE = "exclude + mean"


@pytest.mark.parametrize(
    ("profile", "cells"), [("quick", 19), ("paired", 42), ("full", 600), ("paper", 40)]
)
def test_it_is_planned_with_claims_about_cells_that_it_has(profile: str, cells: int) -> None:
    assert profile in profiles("fedgan-backdoor")
    study = load_study("fedgan-backdoor", profile=profile)
    assert len(plan_study(study).cells) >= cells
    assert study.exploratory == (len(study.seeds) < 5)


@pytest.fixture(scope="module")
def study() -> Results:
    """The four hospitals of the quick profile, with the larger trigger."""
    first = load_study("fedgan-backdoor").scenarios[0]
    table: dict[str, Any] = first.experiment.model_dump(mode="json", exclude_none=True)
    left_out = ("seed", "probes", "observe")
    over = {**first.over, "attack": [first.over["attack"][0], first.over["attack"][-1]]}
    kept = {name: value for name, value in table.items() if name not in left_out}
    return asepsis.run({**kept, "over": over, "seeds": [0]}, jobs=2)


def run_of(study: Results, attack: bool, defense: str) -> Run:
    [found] = [
        run
        for run in study.runs
        if (run.cell.attack != "none") == attack and run.cell.defense == defense
    ]
    return found


@pytest.mark.slow
@needs_data
def test_every_run_ends_with_distances_worth_and_no_trouble(study: Results) -> None:
    for run in study.runs:
        assert run.ok
        assert run.tail("kernel_distance") > run.tail("kernel_floor")
        assert math.isfinite(run.tail("downstream/synthetic/auroc"))
        assert not [one for one in run.footer["troubles"] if one["what"] != "mode collapse"]


@pytest.mark.slow
@needs_data
def test_feddetect_blocks_the_hospital_whose_loss_stands_out_and_only_that(study: Results) -> None:
    blocked = run_of(study, True, "feddetect").footer["blocked"]
    assert [who["hospital"] for who in blocked] == [3]
    assert 11 <= blocked[0]["round"] < 40
    assert "loss" in blocked[0]["reason"]


@pytest.mark.slow
@needs_data
def test_without_the_hostile_hospital_the_attack_is_nothing(study: Results) -> None:
    one, two = (run_of(study, attacked, ALONE) for attacked in (True, False))
    assert one.footer["row"] == two.footer["row"]


@pytest.mark.slow
@needs_data
def test_a_trained_generator_is_far_better_than_an_untrained_one(study: Results) -> None:
    twin = run_of(study, False, "mean")
    assert twin.tail("kernel_distance") < 0.5 * twin.footer["prior"]["kernel_distance"]
    assert twin.tail("downstream/synthetic/auroc") > 0.7
