"""A model that has not learned supports no claim, whatever its metric."""

from __future__ import annotations

import math

import pytest
from report_study import experiment, record

from asepsis.experiments.plan import Cell
from asepsis.experiments.results import Group, Run


def twins(**metrics: float) -> Group:
    spec = experiment(None, "mean", 0, "phantom")
    run = Run(Cell("s", "none", "mean", 0, spec), record(spec, metrics))
    return Group("s", "none", "mean", (), [run], [run])


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"balanced_accuracy": 0.54}, True),
        ({"balanced_accuracy": 0.56}, False),
        ({"macro_auroc": 0.54}, True),
        ({"macro_auroc": 0.56}, False),
        ({"mae": 0.1}, False),
        ({"macro_auroc": math.nan}, True),  # what is not estimable was not shown
        ({"balanced_accuracy": math.nan, "mae": 0.1}, True),
    ],
)
def test_it_is_measured_from_chance(metrics: dict[str, float], expected: bool) -> None:
    assert twins(**metrics).undertrained is expected


@pytest.mark.parametrize(
    ("error", "expected"), [(0.049, False), (0.051, True), (math.nan, True), (99.0, True)]
)
def test_images_are_measured_from_the_mean_training_image(error: float, expected: bool) -> None:
    group = twins(mae=error, ssim=0.9)
    group.runs[0].footer["prior"] = {"mae": 0.05, "ssim": 0.99}
    assert group.undertrained is expected
