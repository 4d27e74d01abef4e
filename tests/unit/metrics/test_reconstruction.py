"""Reconstructions beside truth, candidates and priors: by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from asepsis.core.samples import Array
from asepsis.metrics.features import feature_distance
from asepsis.metrics.leakage import match
from asepsis.metrics.reconstruction import (
    averaged,
    beside_priors,
    distances,
    each,
    inside,
    prior_pairs,
    ranks,
    reidentified,
)


def images(count: int, seed: int = 0, size: int = 16) -> Array:
    values = np.random.default_rng(seed).uniform(-1, 1, (count, 1, size, size))
    return np.asarray(values, np.float32)


def test_a_success_has_more_than_25_decibels() -> None:
    truth = np.zeros((3, 1, 16, 16))
    off = np.array([0.0, 0.11, 0.12]).reshape(3, 1, 1, 1)  # 10 log10(4 / off²) = 25.2 and 24.4
    found = each(truth + off, truth)
    assert found["success"].tolist() == [1.0, 1.0, 0.0]
    assert found["psnr"][0] == 100.0
    assert found["psnr"][1] == pytest.approx(10 * np.log10(4 / 0.11**2))
    assert found["features"][0] == 0.0


def test_tables_have_no_decibels() -> None:
    found = each(np.array([[0.05, 0.05], [1.0, 1.0]]), np.zeros((2, 2)))
    assert set(found) == {"mse", "success"}
    assert found["success"].tolist() == [1.0, 0.0]


def test_guesses_that_are_no_numbers_are_scored_as_zeros() -> None:
    truth = images(1)
    bad = np.full_like(truth, np.nan)
    assert each(bad, truth)["mse"] == pytest.approx(each(np.zeros_like(truth), truth)["mse"])


def test_distances_agree_with_brute_force() -> None:
    ones, others = images(3, 1, 4), images(300, 2, 4)
    brute = [[np.mean((a.astype(float) - b.astype(float)) ** 2) for b in others] for a in ones]
    assert np.allclose(distances(ones, others), brute)


def test_ranks_agree_with_sorting() -> None:
    truths, others = images(4, 1, 4), images(50, 2, 4)
    guesses = truths + 0.6 * images(4, 3, 4)
    own = np.diagonal(distances(guesses, truths))
    for i, rank in enumerate(ranks(own, distances(guesses, others))):
        pool = np.concatenate([truths[i : i + 1], others])
        order = np.argsort(((pool - guesses[i]) ** 2).mean(axis=(1, 2, 3)))
        assert rank == 1 + order.tolist().index(0)


def test_a_guess_that_says_nothing_has_the_middle_rank() -> None:
    gaps = np.ones((2, 5))
    found = reidentified(gaps, 2, (np.arange(2), np.arange(2)), rng(0))
    assert (found["rank"], found["top1"], found["candidates"]) == (2.5, 0.0, 4.0)
    assert found["reciprocal_rank"] == pytest.approx(0.4)
    assert found["chance/rank"] == 2.5


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def told(guesses: np.ndarray, real: np.ndarray, others: np.ndarray) -> dict[str, float]:
    gaps = distances(guesses, np.concatenate([real, others]))
    return reidentified(gaps, len(real), match(guesses, real), rng(1))


@pytest.mark.parametrize(("guesses", "used"), [(1, 30), (5, 30), (30, 30), (40, 5)])
def test_useless_guesses_look_right_by_chance_and_have_no_excess(guesses: int, used: int) -> None:
    """One that knows nothing is nearest to one of 30 used, rather than of 30 others, half the time.

    Pairing the best of many guesses with the best of many inputs only adds to that.
    """
    found = []
    for seed in range(40):
        drawn = rng(seed)
        real, others, blind = (drawn.normal(size=(n, 6)) for n in (used, 30, guesses))
        found.append(told(blind, real, others))
    mean = {name: np.mean([one[name] for one in found]) for name in found[0]}
    assert mean["top1"] > 0.2
    spread = np.std([one["excess/top1"] for one in found]) / 40**0.5
    assert abs(mean["excess/top1"]) < 3 * spread + 1e-9
    if guesses == 1:
        assert mean["chance/top1"] == pytest.approx(0.5, abs=0.02)


def test_the_mean_of_public_inputs_as_a_guess_has_no_excess() -> None:
    real, others = rng(0).normal(size=(20, 6)), rng(1).normal(size=(30, 6))
    mean = np.repeat(others.mean(axis=0)[None], 4, axis=0)
    assert told(mean, real, others)["excess/top1"] < 0.1


def test_exact_guesses_have_all_the_excess_there_is() -> None:
    """By chance an input used is among the 20 of 60 that are taken for used: one in three."""
    real, others = rng(0).normal(size=(20, 6)), rng(1).normal(size=(40, 6))
    found = told(real, real, others)
    assert (found["top1"], found["rank"]) == (1.0, 1.0)
    assert found["chance/top1"] == pytest.approx(1 / 3, abs=0.05)
    assert found["excess/top1"] == pytest.approx(2 / 3, abs=0.05)


def test_leakage_is_what_exceeds_the_better_prior() -> None:
    truths, known = images(2, 1), images(20, 2)
    priors = {name: each(*pair) for name, pair in prior_pairs(truths, known, 2).items()}
    best = max(priors["mean"]["psnr"].mean(), priors["nearest"]["psnr"].mean())
    found = beside_priors(truths + 0.01, truths, known)
    assert found["excess/psnr"] == pytest.approx(each(truths + 0.01, truths)["psnr"] - best)
    mean = np.broadcast_to(known.mean(axis=0), truths.shape)
    usual = float(each(mean, truths)["psnr"].mean())
    assert found["prior/mean/psnr"].mean() == pytest.approx(usual, abs=1e-4)


def test_priors_are_set_beside_the_inputs_they_come_nearest_to() -> None:
    used, known = np.array([[0.0], [5.0], [9.0]]), np.array([[5.5], [8.0]])  # their mean is 6.75
    one, two = prior_pairs(used, known, 1), prior_pairs(used, known, 2)
    assert [part.tolist() for part in one["mean"]] == [[[6.75]], [[5.0]]]
    assert [part.tolist() for part in one["nearest"]] == [[[5.5]], [[5.0]]]
    assert two["mean"][1].tolist() == [[5.0], [9.0]]
    assert [part.tolist() for part in two["nearest"]] == [[[5.5], [8.0]], [[5.0], [9.0]]]


@pytest.mark.parametrize(("public", "used", "guesses"), [(50, 1, 1), (20, 300, 1), (20, 300, 4)])
def test_other_peoples_digits_exceed_nothing_however_many_were_used(
    public: int, used: int, guesses: int
) -> None:
    """A guess that might as well be a public sample knows no more than the best of those."""
    digits = load_digits().images[:, None].repeat(2, axis=2).repeat(2, axis=3) / 8 - 1
    found = []
    for seed in range(30):
        ends = np.cumsum([used, public, guesses])
        real, known, guess, _ = np.split(digits[rng(seed).permutation(len(digits))], ends)
        mine, matched = match(guess, real)
        found.append(averaged(beside_priors(guess[mine], real[matched], known, real)))
    for figure in ("excess/psnr", "excess/ssim"):
        assert np.mean([one[figure] for one in found]) <= 0


def test_of_tables_the_excess_is_a_lower_error() -> None:
    found = beside_priors(np.array([[0.5]]), np.array([[0.0]]), np.array([[2.0], [4.0]]))
    assert found["prior/mean/mse"].tolist() == [9.0]
    assert found["prior/nearest/mse"].tolist() == [4.0]
    assert found["excess/mse"].tolist() == [3.75]


def test_a_success_that_a_public_record_has_too_is_no_leakage() -> None:
    guess, truth = np.array([[0.05], [5.05]]), np.array([[0.0], [5.0]])
    found = beside_priors(guess, truth, np.array([[0.01], [20.0]]))
    assert found["prior/nearest/success"].tolist() == [1.0, 0.0]
    assert found["prior/mean/success"].tolist() == [0.0, 0.0]
    assert found["excess/success"].tolist() == [0.5, 0.5]


def test_no_public_image_is_nearer_to_any_used_than_the_nearest() -> None:
    truths, known = images(300, 1, 4), images(30, 2, 4)
    guess, truth = prior_pairs(truths, known, 1)["nearest"]
    assert distances(guess, truth)[0, 0] == distances(known, truths).min()


def test_only_what_is_inside_the_mask_counts() -> None:
    truth = np.zeros((1, 1, 16, 16))
    guess, mask = truth.copy(), np.zeros((1, 16, 16), bool)
    guess[..., :8, :] = 1.0
    mask[:, 8:, :] = True
    assert inside(guess, truth, mask)["mae"].tolist() == [0.0]
    assert inside(guess, truth, ~mask)["mae"].tolist() == [0.5]


def test_features_tell_images_apart_and_repeat() -> None:
    one, other = images(2, 1), images(2, 2)
    near, far = feature_distance(one, one + 0.01), feature_distance(one, other)
    assert (near < far).all()
    assert (feature_distance(one, other) == far).all()
    assert np.isnan(feature_distance(images(1, size=7), images(1, size=7))).all()


def test_means_leave_out_what_is_not_known() -> None:
    assert averaged({"a": np.array([np.nan, 4.0])}) == {"a": 4.0}
    assert np.isnan(averaged({"a": np.array([np.nan])})["a"])
