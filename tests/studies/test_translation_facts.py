"""What a federation of three real centers learns of CT from MR, at 64 pixels."""

from __future__ import annotations

import os
from typing import Any

import pytest

from asepsis.experiments.run import run_experiment
from asepsis.experiments.spec import Experiment, parse

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "ASEPSIS_DATA" not in os.environ,
        reason="needs real data: set ASEPSIS_DATA to a folder with the pairs of mri-ct",
    ),
]

CENTERS: dict[str, Any] = {"hospitals": "all", "rounds": 15}


def ended(trainer: dict[str, Any], federation: dict[str, Any], partition: str) -> dict[str, Any]:
    table = {
        "dataset": "mri-ct",
        "task": {"name": "translation", "size": 64},
        "partition": partition,
        "trainer": {"batch_size": 8, "epochs": 2, **trainer},
        "federation": federation,
        "evaluation": {"every": 15},
    }
    made: Experiment = parse(Experiment, table)
    found: dict[str, Any] = run_experiment(made)[-1]["result"]
    return found


def test_a_small_network_on_all_pairs_is_as_good_as_the_data_set_says() -> None:
    found = ended({"name": "adam", "lr": 0.003}, {"hospitals": 1, "rounds": 10}, "iid")
    assert found["last"]["mae"] < 0.052
    assert found["last"]["psnr"] > 21.3
    assert found["prior"]["mae"] > 0.07


@pytest.mark.parametrize("name", ["sgd", "prox"])
def test_three_centers_beat_the_mean_image_together(name: str) -> None:
    found = ended({"name": name, "lr": 0.1}, CENTERS, "site")
    assert found["last"]["mae"] < 0.87 * found["prior"]["mae"]
    assert found["last"]["psnr"] > found["prior"]["psnr"] + 1
    assert found["last"]["ssim"] > found["prior"]["ssim"]
    assert set(found["hospitals"]) == {"center-A", "center-B", "center-C"}


def test_a_center_that_took_no_part_gains_too() -> None:
    federation = {**CENTERS, "unseen": "center-C"}
    found = ended({"name": "adam", "lr": 0.003}, federation, "site")
    for name in ("mae", "unseen/mae"):
        assert found["last"][name] < 0.85 * found["prior"][name]
