"""Thresholds and rates of detectors, against brute force and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from asepsis.metrics.detection import (
    false_alarms_at_recall,
    flagged_shares,
    threshold_at_recall,
)
from asepsis.metrics.utility import binary_auroc


def tied(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, and at least one of each side."""
    rng = np.random.default_rng(seed)
    bad = rng.random(40) < 0.3
    bad[:2] = [True, False]
    return np.round(rng.normal(size=40) + bad, 0), bad


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("recall", [0.5, 0.95, 1.0])
def test_a_threshold_is_the_highest_that_finds_enough(seed: int, recall: float) -> None:
    scores, bad = tied(seed)
    enough = [t for t in scores.tolist() if (scores[bad] >= t).mean() >= recall]
    threshold = threshold_at_recall(scores, bad, recall)
    assert threshold == max(enough)
    alarms, found = flagged_shares(scores, bad, threshold)
    assert alarms == sum(s >= threshold for s in scores[~bad]) / (~bad).sum()
    assert found >= recall
    assert false_alarms_at_recall(scores, bad, recall) == alarms


@pytest.mark.parametrize("seed", range(8))
def test_area_and_alarms_agree_with_scikit_learn(seed: int) -> None:
    scores, bad = tied(seed)
    assert binary_auroc(scores, bad) == pytest.approx(roc_auc_score(bad, scores), abs=1e-12)
    alarms, recalls, _ = roc_curve(bad, scores, drop_intermediate=False)
    expected = alarms[recalls >= 0.95].min()
    assert false_alarms_at_recall(scores, bad, 0.95) == pytest.approx(expected, abs=1e-12)


def test_nineteen_of_twenty_are_ninety_five_percent() -> None:
    scores = np.arange(20.0)
    assert threshold_at_recall(scores, np.ones(20, bool), 0.95) == 1.0


def test_nothing_is_said_of_nobody_or_of_what_is_no_number() -> None:
    two, bad = np.array([1.0, 2.0]), np.array([True, False])
    assert math.isnan(threshold_at_recall(two, ~(bad | True), 0.95))
    assert math.isnan(threshold_at_recall(np.array([math.nan, 2.0]), bad, 0.95))
    assert all(math.isnan(v) for v in flagged_shares(two, bad, math.nan))
    assert all(math.isnan(v) for v in flagged_shares(np.array([1.0, math.nan]), bad, 0.0))
    alarms, found = flagged_shares(two, np.array([False, False]), 1.5)
    assert alarms == 0.5
    assert math.isnan(found)
