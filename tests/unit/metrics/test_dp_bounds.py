"""Lower bounds on epsilon: never above the truth, and near it where canaries are many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from asepsis.core.errors import ConfigError
from asepsis.metrics.dp_bounds import from_trials, one_run, one_run_chance, one_run_epsilon


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def answers(epsilon: float, bits: np.ndarray, seed: int) -> np.ndarray:
    """Randomized response: tells a bit truly with chance ``e^eps / (1 + e^eps)``."""
    true = rng(seed).random(len(bits)) < 1 / (1 + math.exp(-epsilon))
    return np.where(true, bits, ~bits) + 1e-6 * rng(seed + 1).random(len(bits))


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_trials_bound_randomized_response_from_below_and_nearly_reach_it(epsilon: float) -> None:
    found = []
    for seed in range(20):
        inside = answers(epsilon, np.ones(4000, dtype=bool), 10 * seed)
        outside = answers(epsilon, np.zeros(4000, dtype=bool), 10 * seed + 5)
        found.append(from_trials(inside, outside, delta=0.0).epsilon)
    assert np.mean(np.array(found) > epsilon) <= 0.2  # 5 % are allowed
    assert np.median(found) > 0.7 * epsilon


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_one_run_bounds_randomized_response_from_below_and_nearly_reaches_it(
    epsilon: float,
) -> None:
    found = []
    for seed in range(20):
        coins = rng(1000 + seed).random(4000) < 0.5
        found.append(one_run(answers(epsilon, coins, 7 * seed), coins, delta=0.0).epsilon)
    assert np.mean(np.array(found) > epsilon) <= 0.2
    assert np.median(found) > 0.7 * epsilon


def test_without_delta_the_chance_is_that_of_a_binomial_test() -> None:
    for right in (10, 14, 20):
        chance = one_run_chance(100, 20, right, 0.7, 0.0)
        share = 1 / (1 + math.exp(-0.7))
        assert chance == pytest.approx(binomtest(right, 20, share, alternative="greater").pvalue)


def test_delta_weakens_the_bound() -> None:
    bounds = [one_run_epsilon(500, 100, 90, delta, 0.05) for delta in (0.0, 1e-5, 1e-2)]
    assert bounds[0] >= bounds[1] > bounds[2]


def test_gaussian_noise_is_never_said_to_be_worse_than_it_is() -> None:
    """One step of noise 1 at delta 1e-5: epsilon 4.38."""
    over = 0
    for seed in range(20):
        with_canary = rng(seed).normal(1.0, 1.0, 3000)
        without = rng(500 + seed).normal(0.0, 1.0, 3000)
        found = from_trials(with_canary, without, delta=1e-5)
        assert 0.5 < found.epsilon <= found.largest
        over += found.epsilon > 4.38
    assert over == 0


def test_scores_that_tell_absence_are_used_too() -> None:
    inside, outside = rng(1).normal(size=2000), np.full(2000, -9.0)
    outside[:1600] = rng(2).normal(size=1600)
    assert from_trials(inside, outside, delta=1e-5).epsilon > 3


def test_a_blind_guesser_finds_nothing_and_is_told_what_could_have_been_found() -> None:
    scores, coins = rng(3).normal(size=400), rng(4).random(400) < 0.5
    found = one_run(scores, coins, delta=1e-5)
    assert found.epsilon == 0.0
    assert found.largest > 3
    trials = from_trials(scores[:200], scores[200:], delta=1e-5)
    assert trials.epsilon == 0.0
    assert trials.canaries == 400
    more = from_trials(rng(5).normal(size=2000), rng(6).normal(size=2000), delta=1e-5)
    assert more.largest > trials.largest


def test_too_few_are_refused() -> None:
    with pytest.raises(ConfigError, match="too few"):
        from_trials(np.ones(3), np.zeros(3), delta=1e-5)
    with pytest.raises(ConfigError, match="too few"):
        one_run(np.ones(9), np.ones(9, dtype=bool), delta=1e-5)
