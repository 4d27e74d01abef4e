"""What can be learned by looking, on real data, as the quick profile has it."""

from __future__ import annotations

import os

import pytest

import asepsis
from asepsis.experiments.leaks import learned
from asepsis.experiments.library import profiles
from asepsis.experiments.plan import load_study, plan_study
from asepsis.experiments.results import Group, Results

needs_data = pytest.mark.skipif(
    "ASEPSIS_DATA" not in os.environ,
    reason="needs real data: set ASEPSIS_DATA to a folder with cxr/... and ehr/...",
)
MEMBERS = "members among 20 hospitals of chest X-rays"
HEART = "four hospitals' heart disease"
RELEASED = "the released model"
SUM = "secure-aggregation + mean"


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_it_is_planned(profile: str) -> None:
    assert profile in profiles("inference")
    study = load_study("inference", profile=profile)
    assert len(plan_study(study).cells) >= 9 * len(study.seeds)
    assert study.exploratory == (len(study.seeds) < 5)


@pytest.fixture(scope="module")
def study() -> Results:
    return asepsis.run("inference", jobs=2)


def group(study: Results, scenario: str, defense: str) -> Group:
    return next(g for g in study.groups() if (g.scenario, g.defense) == (scenario, defense))


@pytest.mark.slow
@needs_data
def test_every_run_ends(study: Results) -> None:
    assert not [(run.cell.scenario, run.cell.defense) for run in study.runs if not run.ok]


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("variant", ["I", "II"])
def test_fedmia_tells_members_unless_updates_are_summed(study: Results, variant: str) -> None:
    by = f"fedmia (variant={variant})"
    plain, summed = (group(study, MEMBERS, defense) for defense in ("mean", SUM))
    assert learned(plain, by, "held-out/auc").mean >= 0.85
    assert learned(plain, by, "held-out/excess").low > 0.1
    assert learned(plain, by, "which-hospital/auc").mean >= 0.85
    assert learned(summed, by, "held-out/auc").mean < 0.7
    assert 0.45 <= learned(summed, by, "which-hospital/auc").mean <= 0.55


@pytest.mark.slow
@needs_data
def test_updates_tell_how_common_a_diagnosis_is_and_sums_only_of_all_together(
    study: Results,
) -> None:
    plain, summed = (group(study, HEART, defense) for defense in ("mean", SUM))
    assert learned(plain, "property-inference", "gain").mean > 0.1
    assert learned(summed, "property-inference", "gain").mean < 0.05


@pytest.mark.slow
@needs_data
def test_privacy_that_is_promised_is_recorded_with_its_unit(study: Results) -> None:
    [claim] = group(study, HEART, "dp-fedavg").runs[0].footer["privacy"]
    assert claim["unit"] == "hospital"
    assert claim["epsilon"] > 0
    private = [g for g in study.groups() if g.scenario == RELEASED and "dp-sgd" in str(g.labels)]
    assert private[0].runs[0].footer["privacy"][0]["unit"] == "record"
