"""What real hospitals' updates and models give away, at the four heart-disease hospitals."""

from __future__ import annotations

import os
from typing import Any

import pytest

import asepsis

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "ASEPSIS_DATA" not in os.environ,
        reason="needs real data: set ASEPSIS_DATA to a folder with the heart-disease tables",
    ),
]

SEEDS = 3
SHARES, LABELS = {"name": "property-inference"}, {"name": "label-leakage"}
SEX = {"name": "attribute-inference", "attribute": 1, "prior": "imputed"}


def learned(
    observe: dict[str, Any], defenses: list[str], rounds: int = 1, epochs: int = 1
) -> list[dict[str, float]]:
    """Return what an observer's last claim is worth, seed by seed."""
    results = asepsis.run(
        {
            "dataset": "heart-disease",
            "partition": "site",
            "model": "mlp",
            "trainer": {"name": "sgd", "batch_size": 16, "epochs": epochs},
            "federation": {"rounds": rounds, "hospitals": 4},
            "threat": {"role": "server"},
            "observe": [observe],
            "defenses": [{"name": name} for name in defenses],
            "candidates": {"members": 200},
        },
        seeds=SEEDS,
        engine="serial",
    )
    return [run.footer["evidence"][-1]["scores"] for run in results.runs]


def test_the_share_of_the_sick_is_read_off_an_update_and_hidden_by_a_sum() -> None:
    for alone in learned(SHARES, ["mean"]):
        assert alone["error"] < 0.4 * alone["baseline_error"]
        assert alone["rank"] == 1
        assert alone["gain_low"] > 0
    for summed in learned(SHARES, ["secure-sum", "mean"]):
        assert abs(summed["gain"]) < 0.02
        assert summed["rank"] == 0
        assert summed["pooled_error"] < 0.1


def test_diagnoses_are_counted_from_an_update_and_not_from_a_sum() -> None:
    for alone in learned(LABELS, ["mean"]):
        assert alone["count_error"] < 0.5 * alone["prior_count_error"]
    for summed in learned(LABELS, ["secure-sum", "mean"]):
        assert summed["count_error"] > 0.8 * summed["prior_count_error"]


def test_most_of_attribute_inference_is_imputation() -> None:
    """An ordinary model adds next to nothing to what public records alone say."""
    for found in learned(SEX, ["mean"], rounds=10):
        assert found["members"] >= 180
        assert abs(found["excess/others"]) < 0.06
        assert found["leakage_low"] <= 0.02
