"""Figures of inference attacks: by hand, and against the plainest way to compute them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from asepsis.metrics.imputation import frequencies, imputed, nearest, support_of
from asepsis.metrics.inference import (
    apportioned,
    count_scores,
    drawn_counts,
    indicator,
    nearest_distance,
    rank_agreement,
    share_errors,
    synthetic_membership,
)
from asepsis.metrics.utility import binary_auroc


def test_classes_and_findings_become_indicators() -> None:
    assert indicator(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    findings = np.array([[1, 1, 0]], dtype=np.uint8)
    assert indicator(findings, 3).tolist() == [[1, 1, 0]]


def test_share_errors_are_means_over_classes() -> None:
    guess, truth = np.array([[0.2, 0.8], [1.0, 0.0]]), np.array([[0.4, 0.6], [0.0, 1.0]])
    assert share_errors(guess, truth) == pytest.approx([0.2, 1.0])


def test_rank_agreement_is_spearmans_averaged_over_classes_that_vary() -> None:
    rng = np.random.default_rng(0)
    guess, truth = rng.random((7, 3)), rng.random((7, 3))
    truth[:, 2] = 0.5
    expected = [stats.spearmanr(guess[:, c], truth[:, c]).statistic for c in range(2)]
    assert rank_agreement(guess, truth) == pytest.approx(np.mean(expected))
    assert rank_agreement(np.full((7, 3), 0.3), truth) == 0
    assert np.isnan(rank_agreement(guess[:2], truth[:2]))
    assert np.isnan(rank_agreement(guess, np.full((7, 3), 0.3)))


@pytest.mark.parametrize(
    ("shares", "total", "counts"),
    [
        ([0.5, 0.3, 0.2], 4, [2, 1, 1]),
        ([1 / 3, 1 / 3, 1 / 3], 4, [2, 1, 1]),
        ([0.0, 0.0], 3, [2, 1]),
        ([-1.0, np.nan, 2.0], 5, [0, 0, 5]),
        ([0.9, 0.1], 0, [0, 0]),
    ],
)
def test_shares_are_apportioned_by_largest_remainders(
    shares: list[float], total: int, counts: list[int]
) -> None:
    assert apportioned(np.array(shares), total).tolist() == counts


def test_apportioned_counts_always_add_up_and_are_within_one() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        shares, total = rng.dirichlet(np.ones(5)), int(rng.integers(0, 50))
        counts = apportioned(shares, total)
        assert counts.sum() == total
        assert (np.abs(counts - shares * total) < 1).all()


def test_counts_are_scored_by_hospital_and_by_class() -> None:
    guess, truth = np.array([[2, 0, 1], [3, 0, 0]]), np.array([[2, 0, 1], [1, 1, 1]])
    scores = count_scores(guess, truth)
    assert scores["exact"] == 0.5
    assert scores["count_error"] == pytest.approx(4 / 6)
    assert scores["presence"] == pytest.approx(4 / 6)


def test_drawn_counts_follow_the_public_shares() -> None:
    rng = np.random.default_rng(0)
    one = drawn_counts(np.array([0.2, 0.8]), np.array([10, 50]), True, 4000, rng)
    assert one.shape == (4000, 2, 2)
    assert (one.sum(axis=2) == [10, 50]).all()
    assert one.mean(axis=0) == pytest.approx(np.array([[2, 8], [10, 40]]), abs=0.3)
    many = drawn_counts(np.array([0.9, 0.9]), np.array([10]), False, 4000, rng)
    assert many.mean(axis=0) == pytest.approx(np.array([[9, 9]]), abs=0.1)


def test_nearest_distance_equals_brute_force() -> None:
    rng = np.random.default_rng(0)
    samples, pool = rng.normal(size=(9, 2, 3)), rng.normal(size=(600, 2, 3))
    expected = [min(np.linalg.norm(one - other) for other in pool) for one in samples]
    assert nearest_distance(samples, pool) == pytest.approx(expected)
    assert nearest_distance(pool[:3], pool).tolist() == [0, 0, 0]
    assert np.isinf(nearest_distance(samples, pool[:0])).all()


def membership_auc(copies: float, calibrated: bool) -> float:
    """AUC of members against others, where generated samples are members with noise, or not."""
    rng = np.random.default_rng(0)
    members, others, public, fresh = (rng.normal(size=(100, 5)) for _ in range(4))
    synthetic = np.where(copies > 0, members + 0.1 * rng.normal(size=(100, 5)), fresh)
    scores = synthetic_membership(
        np.concatenate([members, others]), synthetic, public if calibrated else None
    )
    return binary_auroc(scores, np.arange(200) < 100)


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_generator_that_copies_gives_members_away_and_one_that_does_not_does_not(
    calibrated: bool,
) -> None:
    assert membership_auc(1, calibrated) > 0.99
    assert membership_auc(0, calibrated) == pytest.approx(0.5, abs=0.1)


def test_calibration_discounts_what_is_close_to_everything() -> None:
    common, rare = np.zeros((1, 2)), np.full((1, 2), 10.0)
    synthetic = np.concatenate([common + 0.5, rare + 0.6])
    public = common + 0.1
    plain = synthetic_membership(np.concatenate([common, rare]), synthetic, None)
    calibrated = synthetic_membership(np.concatenate([common, rare]), synthetic, public)
    assert plain[0] > plain[1]
    assert calibrated[1] > 0 > calibrated[0]


def test_the_support_is_what_occurs_or_the_middle_of_equal_groups() -> None:
    assert support_of(np.array([2.0, 1.0, 2.0]), 2).tolist() == [1, 2]
    many = support_of(np.arange(100.0), 4)
    assert many.tolist() == [12, 37, 62, 87]
    assert nearest(np.array([0.0, 24.0, 99.0]), many).tolist() == [0, 0, 3]


def test_frequencies_never_rule_anything_out() -> None:
    assert frequencies(np.array([0, 0]), 2).tolist() == pytest.approx([2.5 / 3, 0.5 / 3])


def test_imputation_finds_what_the_rest_determines_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    rest = rng.normal(size=(400, 2))
    told, hidden = (rest[:, 0] > 0).astype(int), rng.integers(2, size=400)
    for which, low, high in ((told, 0.95, 1.0), (hidden, 0.38, 0.62)):
        likely = imputed(rest[:200], which[:200], rest[200:], 2, seed=0)
        assert likely.sum(axis=1) == pytest.approx(np.ones(200))
        assert low <= (likely.argmax(axis=1) == which[200:]).mean() <= high


def test_imputation_without_a_choice_falls_back_on_frequencies() -> None:
    likely = imputed(np.zeros((3, 2)), np.array([1, 1, 1]), np.zeros((2, 2)), 3, seed=0)
    assert likely == pytest.approx(np.tile(frequencies(np.array([1, 1, 1]), 3), (2, 1)))
