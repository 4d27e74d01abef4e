"""The blind classifier finds what differs by nature, and nothing where nothing does."""

from __future__ import annotations

import numpy as np
import pytest

from asepsis.core.samples import Array
from asepsis.metrics.blind import averaged, blind_scores, dealt_out, features, member_odds
from asepsis.metrics.utility import binary_auroc

N = 160


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asepsis.metrics.blind.TREES", 15)


def halves() -> Array:
    return np.asarray(np.arange(N) % 2 == 0)


def blind_auc(inputs: Array, targets: Array, members: Array, groups: Array | None = None) -> float:
    patients = np.arange(len(members)) if groups is None else groups
    odds = member_odds(inputs, targets, members, patients, np.random.default_rng(0))
    return binary_auroc(odds, members)


def images(seed: int, n: int = N) -> Array:
    return np.random.default_rng(seed).integers(40, 200, size=(n, 20, 20)).astype(np.uint8)


def test_it_guesses_where_members_are_drawn_from_one_pool() -> None:
    found = [
        blind_auc(images(seed, 80), np.arange(80) % 3, np.random.default_rng(seed).random(80) < 0.5)
        for seed in range(4)
    ]
    assert abs(float(np.mean(found)) - 0.5) < 0.08


def test_it_sees_another_scanner() -> None:
    brighter = images(0) + (halves()[:, None, None] * 12).astype(np.uint8)
    assert blind_auc(brighter, np.zeros(N, int), halves()) > 0.95


def test_it_sees_a_difference_that_only_noise_has() -> None:
    smooth = np.broadcast_to(np.arange(20, dtype=np.uint8) * 5, (N, 20, 20)).copy()
    noise = np.random.default_rng(0).integers(0, 20, size=smooth.shape).astype(np.uint8)
    assert blind_auc(smooth + noise * halves()[:, None, None], np.zeros(N, int), halves()) > 0.95


def test_it_reads_targets_too() -> None:
    rng = np.random.default_rng(1)
    classes = np.where(halves(), rng.random(N) < 0.8, rng.random(N) < 0.2).astype(int)
    assert blind_auc(images(2), classes, halves()) > 0.7
    assert blind_auc(images(2), np.stack([classes, 1 - classes], axis=1), halves()) > 0.7
    darker = images(3) - (halves()[:, None, None] * 12).astype(np.uint8)
    assert blind_auc(images(2), darker, halves()) > 0.95


def test_it_sees_what_is_missing() -> None:
    table = np.random.default_rng(2).normal(size=(N, 6)).astype(np.float32)
    table[halves(), 3] = np.nan
    table[:, 5] = np.nan
    assert np.isfinite(features(table, np.zeros(N)).everything).all()
    assert blind_auc(table, np.zeros(N, int), halves()) > 0.95


def test_no_patient_is_on_both_sides() -> None:
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(N // 4), 4)
    table = rng.normal(size=(N // 4, 12))[patients]
    members = (rng.permutation(N // 4) < N // 8)[patients]
    assert blind_auc(table, np.zeros(N, int), members, patients) < 0.7
    assert blind_auc(table, np.zeros(N, int), members) > 0.9, "were they, it would know them again"


def test_it_tells_sites_apart_from_one_another() -> None:
    home = np.arange(N) % 4
    tinted = images(4) + (home[:, None, None] * 12).astype(np.uint8)
    found = blind_scores(tinted, np.zeros(N), home, np.arange(N), np.random.default_rng(0))
    assert found.shape == (N, 4)
    assert np.exp(found).sum(axis=1) == pytest.approx(1.0, abs=1e-4)
    assert (found.argmax(axis=1) == home).mean() > 0.9


@pytest.mark.parametrize("shape", [(9, 7, 3), (8, 8, 8), (48, 37), (5,)])
def test_any_kind_of_sample_becomes_a_bounded_table(shape: tuple[int, ...]) -> None:
    samples = np.random.default_rng(5).normal(size=(12, *shape)).astype(np.float32)
    samples[0] = np.nan
    made = features(samples, np.arange(12) % 2)
    assert np.isfinite(made.everything).all()
    assert made.summary.shape[1] < 50
    assert made.everything.shape[1] < 600


def test_the_same_draws_give_the_same_scores() -> None:
    one, two = (
        member_odds(images(6), np.zeros(N), halves(), np.arange(N), np.random.default_rng(9))
        for _ in range(2)
    )
    assert (one == two).all()


def test_too_few_patients_leave_it_guessing() -> None:
    odds = member_odds(
        images(7)[:3],
        np.zeros(3),
        np.array([True, True, False]),
        np.arange(3),
        np.random.default_rng(0),
    )
    assert (odds == 0).all()


def test_averaging_keeps_the_mean() -> None:
    samples = np.random.default_rng(8).normal(size=(3, 32, 16, 4))
    made = averaged(samples)
    assert made[0].size <= 256
    assert made.reshape(3, -1).mean(axis=1) == pytest.approx(samples.reshape(3, -1).mean(axis=1))


def test_folds_hold_whole_patients_and_all_labels() -> None:
    patients = np.repeat(np.arange(40), 2)
    label, classes = np.repeat(np.arange(40) % 4, 2), np.repeat(np.arange(40) // 4 % 2, 2)
    fold = dealt_out(label, classes, patients, 5, np.random.default_rng(0))
    assert (fold[::2] == fold[1::2]).all()
    for which in range(4):
        assert (np.bincount(fold[label == which], minlength=5) == 4).all()
        for one in range(2):
            mine = (label == which) & (classes == one)
            assert np.ptp(np.bincount(fold[mine], minlength=5)) == 0


def sites(seed: int, shift: float) -> float:
    """Three scanners that differ much, members of each shifted a little."""
    rng = np.random.default_rng(seed)
    n = 90
    home, members = np.arange(n) % 3, np.arange(n) // 3 % 2 == 0
    table = 0.2 * rng.normal(size=(n, 6)) + home[:, None] + shift * members[:, None]
    odds = member_odds(table, np.zeros(n), members, np.arange(n), rng, strata=home)
    return binary_auroc(odds, members)


def test_hospitals_that_differ_make_it_no_worse_than_guessing() -> None:
    assert float(np.mean([sites(seed, 0.0) for seed in range(12)])) == pytest.approx(0.5, abs=0.04)


def test_a_shift_within_each_of_different_hospitals_is_found() -> None:
    assert float(np.mean([sites(seed, 0.3) for seed in range(3)])) > 0.75


def test_folds_hold_as_many_of_every_label_of_a_hospital() -> None:
    home, label = np.repeat([0, 1, 2], [14, 22, 8]), np.arange(44) % 2
    fold = dealt_out(label, np.zeros(44), np.arange(44), 5, np.random.default_rng(0), home)
    for which in range(3):
        counts = [
            np.bincount(fold[(home == which) & (label == one)], minlength=5) for one in (0, 1)
        ]
        assert (counts[0] == counts[1]).all()
        assert np.ptp(counts[0]) <= 1
