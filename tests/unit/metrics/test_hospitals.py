"""Figures per hospital: too small ones are not estimable and never the worst."""

from __future__ import annotations

import numpy as np

from asepsis.core.samples import Array
from asepsis.metrics.hospitals import estimable, per_hospital, worst_hospital
from asepsis.metrics.utility import classification_metrics


def hospital(negatives: int, positives: int, right: float) -> tuple[Array, Array]:
    targets = np.array([0] * negatives + [1] * positives)
    hits = np.arange(len(targets)) < right * len(targets)
    guess = np.where(hits, targets, 1 - targets)
    return np.eye(2)[guess], targets


def test_a_hospital_with_nine_positives_is_not_the_worst() -> None:
    small, fair, good = hospital(40, 9, 0.1), hospital(20, 20, 0.6), hospital(20, 20, 1.0)
    probabilities, targets = zip(small, fair, good, strict=True)
    figures = per_hospital(probabilities, targets, classification_metrics)
    assert all(np.isnan(value) for value in figures[0].values())
    assert worst_hospital(figures)["accuracy"] == figures[1]["accuracy"] == 0.6


def test_the_worst_calibration_is_the_largest() -> None:
    assert worst_hospital([{"calibration_error": 0.1}, {"calibration_error": 0.3}]) == {
        "calibration_error": 0.3
    }


def test_without_an_estimable_hospital_there_is_no_worst() -> None:
    assert np.isnan(worst_hospital([{"accuracy": float("nan")}])["accuracy"])


def test_an_empty_hospital_is_not_estimable() -> None:
    figures = per_hospital(
        [np.empty((0, 2)), hospital(10, 10, 1.0)[0]],
        [np.empty(0, dtype=np.int64), hospital(10, 10, 1.0)[1]],
        classification_metrics,
    )
    assert np.isnan(figures[0]["accuracy"])
    assert figures[1]["accuracy"] == 1.0


def test_many_classes_need_two_large_ones() -> None:
    assert estimable(np.array([0] * 12 + [3] * 10 + [5]))
    assert not estimable(np.array([0] * 12 + [1] * 9 + [2] * 9))


def test_labels_need_positives_and_negatives() -> None:
    labels = np.zeros((25, 3), dtype=np.uint8)
    labels[:, 0] = 1
    assert not estimable(labels)
    labels[:10, 1] = 1
    assert estimable(labels)
