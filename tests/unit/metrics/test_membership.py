"""Membership figures against brute force, scikit-learn and known coverage."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from asepsis.core.samples import Array
from asepsis.metrics.membership import (
    POINTS,
    advantage,
    auc_draws,
    auc_interval,
    excess_interval,
    mean_interval,
    patient_weights,
    roc_curve,
    tpr_at_fpr,
)


def scored(n: int, seed: int, gap: float = 1.0, levels: int = 8) -> tuple[Array, Array]:
    """Scores with many ties, members a little higher."""
    rng = np.random.default_rng(seed)
    members = rng.random(n) < 0.5
    return np.round((rng.normal(size=n) + gap * members) * levels) / levels, members


def test_weighted_auc_is_the_weighted_share_of_pairs_won() -> None:
    scores, members = scored(30, seed=0, levels=2)
    weights = np.random.default_rng(1).integers(0, 4, size=(6, 30)).astype(float)
    for weight, found in zip(weights, auc_draws(scores, members, weights), strict=True):
        won = total = 0.0
        for i in np.flatnonzero(members):
            for j in np.flatnonzero(~members):
                pair = weight[i] * weight[j]
                total += pair
                won += pair * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
        assert found == pytest.approx(won / total)


def test_pairs_weigh_as_much_as_their_sample() -> None:
    scores, members = scored(20, seed=2)
    weights = np.random.default_rng(3).integers(1, 4, size=(5, 20)).astype(float)
    who = np.repeat(np.arange(20), 3)
    expected = auc_draws(scores, members, weights)
    assert auc_draws(scores[who], members[who], weights, who) == pytest.approx(expected)


def test_draws_in_blocks_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, members = scored(40, seed=4)
    weights = patient_weights(np.arange(40), members, np.random.default_rng(0), draws=11)
    whole = auc_draws(scores, members, weights)
    monkeypatch.setattr("asepsis.metrics.membership.BLOCK", 90)
    assert (auc_draws(scores, members, weights) == whole).all()


def test_a_draw_holds_whole_patients_and_as_many_of_each_side() -> None:
    groups = np.array([5, 5, 6, 7, 8, 8, 9])
    members = np.array([True, True, True, False, False, False, False])
    drawn = patient_weights(groups, members, np.random.default_rng(0), draws=200)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, 4] == drawn[:, 5]).all()
    assert (drawn[:, 0] + drawn[:, 2] == 2).all()
    assert (drawn[:, 3] + drawn[:, 4] + drawn[:, 6] == 3).all()


def test_the_interval_covers_the_true_auc_at_its_level() -> None:
    rng, covered = np.random.default_rng(0), 0
    members = np.arange(120) < 60
    truth = float(stats.norm.cdf(0.8 / np.sqrt(2)))
    for _ in range(200):
        scores = rng.normal(size=120) + 0.8 * members
        drawn = patient_weights(np.arange(120), members, rng, draws=150)
        found = auc_interval(scores, members, drawn)
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / 200 <= 0.985


def test_samples_of_one_patient_count_once() -> None:
    rng = np.random.default_rng(1)
    scores = np.repeat(rng.normal(size=40), 10)
    members, groups = np.repeat(np.arange(40) < 20, 10), np.repeat(np.arange(40), 10)
    found = [
        auc_interval(scores, members, patient_weights(unit, members, np.random.default_rng(2)))
        for unit in (groups, np.arange(400))
    ]
    patients, samples = (one.high - one.low for one in found)
    assert patients > 2 * samples


def test_what_a_blind_classifier_shares_cancels() -> None:
    scores, members = scored(200, seed=5)
    weights = patient_weights(np.arange(200), members, np.random.default_rng(0))
    same = excess_interval(scores, scores, members, weights)
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)
    alone = auc_interval(scores, members, weights)
    noisy = scores + 0.2 * np.random.default_rng(6).normal(size=200)
    paired = excess_interval(scores, noisy, members, weights)
    assert paired.high - paired.low < 0.7 * (alone.high - alone.low)


def test_a_blind_classifier_with_bad_luck_is_no_leakage() -> None:
    members = np.arange(40) < 20
    weights = patient_weights(np.arange(40), members, np.random.default_rng(0))
    useless = np.zeros(40)
    found = excess_interval(useless, -members.astype(float), members, weights)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)


def test_true_positives_at_a_rate_by_trying_every_threshold() -> None:
    scores, members = scored(2400, seed=7, levels=20)
    for rate in (0.01, 0.05, 0.2):
        best = max(
            float((scores[members] > threshold).mean())
            for threshold in np.unique(scores)
            if (scores[~members] > threshold).mean() <= rate
        )
        assert tpr_at_fpr(scores, members, rate) == best


@pytest.mark.parametrize(("others", "estimable"), [(999, False), (1000, True)])
def test_a_rate_needs_ten_expected_false_positives(others: int, estimable: bool) -> None:
    scores = np.arange(others + 5, dtype=float)
    members = np.arange(others + 5) >= others
    assert isnan(tpr_at_fpr(scores, members, 0.01)) is not estimable
    assert isnan(tpr_at_fpr(scores, members, 0.01, others=999))


def test_the_curve_is_scikit_learns() -> None:
    scores, members = scored(60, seed=8, levels=3)
    fpr, tpr, _ = sklearn_metrics.roc_curve(members, scores, drop_intermediate=False)
    found = np.array(roc_curve(scores, members))
    assert found == pytest.approx(np.column_stack([fpr, tpr]))
    assert advantage(scores, members) == pytest.approx((tpr - fpr).max())


def test_a_long_curve_keeps_its_lowest_false_positive_rates() -> None:
    rng = np.random.default_rng(9)
    scores, members = rng.normal(size=5000), rng.random(5000) < 0.5
    fpr, tpr, _ = sklearn_metrics.roc_curve(members, scores, drop_intermediate=False)
    found = roc_curve(scores, members)
    assert len(found) <= POINTS
    assert found[:10] == [[x, y] for x, y in zip(fpr[:10], tpr[:10], strict=True)]
    assert found[-1] == [1.0, 1.0]


@pytest.mark.parametrize("members", [np.ones(4, bool), np.zeros(4, bool), np.zeros(0, bool)])
def test_nothing_is_estimable_of_one_side_alone(members: Array) -> None:
    scores = np.arange(len(members), dtype=float)
    weights = patient_weights(scores, members, np.random.default_rng(0), draws=5)
    found = auc_interval(scores, members, weights)
    assert isnan(found.mean)
    assert isnan(found.low)
    assert isnan(advantage(scores, members))
    assert roc_curve(scores, members) == []


def test_scores_that_are_no_numbers_support_no_figure() -> None:
    scores, members = scored(40, seed=10)
    scores[3] = np.nan
    weights = patient_weights(np.arange(40), members, np.random.default_rng(0), draws=5)
    assert isnan(auc_interval(scores, members, weights).low)
    assert isnan(advantage(scores, members))
    assert isnan(tpr_at_fpr(scores, members, 1.0))
    assert roc_curve(scores, members) == []


def test_the_mean_over_patients_and_its_interval() -> None:
    values, weights = np.array([0.0, 1.0, 1.0]), np.array([[3.0, 0, 0], [0, 3.0, 0], [1, 1, 1]])
    found = mean_interval(values, weights)
    assert found.mean == pytest.approx(2 / 3)
    assert found.low == pytest.approx(np.quantile([0, 1, 2 / 3], 0.025))
    assert isnan(mean_interval(values[:0], weights[:, :0]).mean)
