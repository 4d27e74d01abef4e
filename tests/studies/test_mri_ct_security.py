"""Study 3 as its quick profile has it, on real pairs of three centers."""

from __future__ import annotations

import math
import os

import pytest

import asepsis
from asepsis.experiments.claims import Measured, measured
from asepsis.experiments.leaks import learned
from asepsis.experiments.library import profiles
from asepsis.experiments.plan import load_study, plan_study
from asepsis.experiments.results import Group, Results

needs_data = pytest.mark.skipif(
    "ASEPSIS_DATA" not in os.environ,
    reason="needs real data: set ASEPSIS_DATA to a folder with mri_ct/...",
)
SIX = "who was trained on, 6 hospitals"
LOOKS = "what the images looked like, the 3 centers"
SUM = "secure-aggregation + mean"
DLG = "dlg (client=0, iterations=15)"
FEDMIA = "fedmia (variant=II)"


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_it_is_planned_with_claims_about_cells_that_it_has(profile: str) -> None:
    assert profile in profiles("mri-ct-security")
    study = load_study("mri-ct-security", profile=profile)
    assert len(plan_study(study).cells) >= 32 * len(study.seeds)
    assert study.exploratory == (len(study.seeds) < 5)


@pytest.fixture(scope="module")
def study() -> Results:
    return asepsis.run("mri-ct-security", jobs=2)


def group(study: Results, scenario: str, defense: str) -> Group:
    [found] = [g for g in study.groups() if (g.scenario, g.defense) == (scenario, defense)]
    return found


@pytest.mark.slow
@needs_data
def test_every_run_ends_and_every_claim_has_a_figure(study: Results) -> None:
    assert not [run.cell.defense for run in study.runs if not run.ok]
    missing = [item.claim.says for item in measured(study) if not math.isfinite(item.value.mean)]
    assert not missing


@pytest.mark.slow
@needs_data
def test_dlg_shows_less_of_a_u_nets_images_than_the_mean_image(study: Results) -> None:
    for defense in ("mean", "median", SUM):
        mine = group(study, LOOKS, defense)
        assert learned(mine, DLG, "ssim").mean <= 0.16
        assert learned(mine, DLG, "psnr").mean < learned(mine, DLG, "prior/mean/psnr").mean


@pytest.mark.slow
@needs_data
def test_behind_secure_aggregation_no_hospital_is_told_from_another(study: Results) -> None:
    assert learned(group(study, SIX, SUM), FEDMIA, "which-hospital/auc").mean == 0.5
    assert learned(group(study, SIX, "mean"), FEDMIA, "which-hospital/auc").mean > 0.65


@pytest.mark.slow
@needs_data
def test_masks_cost_no_quality(study: Results) -> None:
    plain, masked = (group(study, SIX, defense).metric("ssim").mean for defense in ("mean", SUM))
    # Rounding to steps makes another run of it: as far apart as seeds are, no farther.
    assert masked == pytest.approx(plain, abs=0.03)


def claimed(study: Results, says: str, defense: str) -> list[Measured]:
    found = [item for item in measured(study) if item.claim.says.startswith(says)]
    return [item for item in found if item.claim.defense == defense]


@pytest.mark.slow
@needs_data
def test_high_noise_breaks_the_mean_and_the_median_gives_it_back(study: Results) -> None:
    losses = claimed(study, "high noise on updates of center", "mean")
    assert len(losses) == 3
    assert all(item.value.mean < -0.3 for item in losses)
    [recovery] = claimed(study, "high noise on updates: share", "median")
    assert recovery.value.mean >= 0.8
