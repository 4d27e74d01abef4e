"""What kind of number a figure is: direction, unit, and which change of it matters."""

from __future__ import annotations

import math

import pytest

from asepsis.metrics.hospitals import worst_hospital
from asepsis.metrics.measures import lower_is_better, measure


@pytest.mark.parametrize(
    ("name", "lower", "unit"),
    [
        ("balanced_accuracy", False, "%"),
        ("calibration_error", True, "%"),
        ("unseen/fused_mae", True, ""),
        ("ssim", False, ""),
        ("kernel_distance", True, ""),
        ("frechet_floor", True, ""),
        ("downstream/synthetic/auroc", False, "%"),
        ("memorization/nn_ratio", False, ""),
        ("collapsed", True, "%"),
        ("lifespan", False, "rounds"),
        ("a plugin's own", False, "%"),
    ],
)
def test_every_figure_has_a_direction_and_a_unit(name: str, lower: bool, unit: str) -> None:
    assert lower_is_better(name) is lower
    assert measure(name).unit == unit


def test_a_share_changes_by_points_and_a_distance_beside_the_clean_one() -> None:
    assert measure("accuracy").material(0.9) == measure("ssim").material(0.9) == 0.05
    assert measure("kernel_distance").material(0.4) == pytest.approx(0.04)
    assert measure("frechet_distance").grain(300.0) == pytest.approx(3.0)
    assert measure("accuracy").grain(300.0) == 0.01


@pytest.mark.parametrize("clean", [0.0, -0.001, math.nan])
def test_nothing_is_material_beside_a_distance_that_is_not_told_from_zero(clean: float) -> None:
    assert math.isnan(measure("kernel_distance").material(clean))


def test_the_worst_hospital_has_the_largest_distance() -> None:
    scores = [{"kernel_distance": 0.2, "precision": 0.2}, {"kernel_distance": 0.3, "precision": 1}]
    assert worst_hospital(scores) == {"kernel_distance": 0.3, "precision": 0.2}
