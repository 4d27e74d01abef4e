"""Figures of generated samples against definitions written out in loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from asepsis.core.samples import Array
from asepsis.metrics import neighbors
from asepsis.metrics.generation import (
    class_diversity,
    diversity,
    frechet_distance,
    kernel_distance,
    kernel_interval,
    memorized,
    nearest_neighbor_ratio,
    precision_recall,
    spread_out,
)
from asepsis.metrics.neighbors import mean_distance, neighbor_distances


def drawn(seed: int, *shape: int, shift: float = 0.0) -> Array:
    return np.random.default_rng(seed).normal(shift, 1.0, size=shape)


@pytest.fixture(params=[1 << 21, 7])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything at once, and one row at a time."""
    monkeypatch.setattr(neighbors, "HELD", request.param)


def kernel(x: Array, y: Array) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def kernel_distance_by_loop(real: Array, fake: Array) -> float:
    def pairs(s: Array) -> float:
        n = len(s)
        apart = [kernel(s[i], s[j]) for i in range(n) for j in range(n) if i != j]
        return sum(apart) / (n * (n - 1))

    across = [kernel(x, y) for x in real for y in fake]
    return pairs(real) + pairs(fake) - 2 * sum(across) / len(across)


@pytest.mark.usefixtures("blocks")
def test_kernel_distance_is_the_mean_over_pairs() -> None:
    real, fake = drawn(0, 13, 4), drawn(1, 9, 4, shift=0.7)
    assert kernel_distance(real, fake) == pytest.approx(kernel_distance_by_loop(real, fake))


def test_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    found = []
    for seed in range(300):
        both = drawn(seed, 40, 5)
        found.append(kernel_distance(both[:20], both[20:]))
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    assert 0.3 < np.mean(np.array(found) < 0) < 0.9
    biased = kernel_distance(both[:20], both[:20])  # pairs of equals only across: below zero
    assert biased < 0


def test_kernel_distance_grows_with_the_shift() -> None:
    real = drawn(0, 200, 6)
    near, far = (kernel_distance(real, drawn(1, 200, 6, shift=s)) for s in (0.3, 1.0))
    assert 0 < near < far


def test_kernel_interval_covers_the_true_distance() -> None:
    """x ~ N(0, 1), y ~ N(s, 1): E k(x, y) from moments of normal products, by a large sample."""
    truth = kernel_distance(drawn(1000, 6000, 2), drawn(1001, 6000, 2, shift=0.8))
    inside = 0
    for seed in range(60):
        real, fake = drawn(2 * seed, 80, 2), drawn(2 * seed + 1, 80, 2, shift=0.8)
        found = kernel_interval(real, fake, np.random.default_rng(seed), draws=100)
        assert found.mean == pytest.approx(kernel_distance(real, fake))
        inside += found.low <= truth <= found.high
    assert inside >= 48


def test_kernel_interval_draws_whole_patients() -> None:
    """Ten copies of every image are no more than the images themselves."""
    real, fake = drawn(0, 30, 3), drawn(1, 30, 3, shift=0.5)
    many, who = np.repeat(real, 10, axis=0), np.repeat(np.arange(30), 10)
    by_image = kernel_interval(many, fake, np.random.default_rng(0))
    by_patient = kernel_interval(many, fake, np.random.default_rng(0), groups=who)
    assert by_patient.high - by_patient.low > 1.2 * (by_image.high - by_image.low)


def whitened(samples: Array) -> Array:
    """The same samples with mean exactly 0 and covariance exactly 1."""
    centered = samples - samples.mean(axis=0)
    return np.asarray(centered @ np.linalg.inv(np.linalg.cholesky(np.cov(centered.T))).T)


def test_frechet_distance_of_normal_distributions() -> None:
    """tr (A B)^(1/2) from the eigenvalues of the product, which need no symmetric root."""
    base, rng = whitened(drawn(0, 50, 4)), np.random.default_rng(1)
    left, right, gap = rng.normal(size=(4, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)
    a, b = left @ left.T, right @ right.T
    roots = np.sqrt(np.linalg.eigvals(a @ b).real).sum()
    expected = gap @ gap + np.trace(a) + np.trace(b) - 2 * roots
    assert frechet_distance(base @ left.T, base @ right.T + gap) == pytest.approx(expected)


def test_frechet_distance_with_fewer_samples_than_features() -> None:
    few, others = drawn(0, 5, 12), drawn(1, 5, 12)
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-5)
    assert frechet_distance(few, others) == pytest.approx(frechet_distance(others, few))
    assert frechet_distance(few, others) > frechet_distance(drawn(0, 500, 12), drawn(1, 500, 12))
    assert frechet_distance(few, few + 2) == pytest.approx(4 * 12)


def among(samples: Array, pool: Array, k: int) -> float:
    def reach(i: int) -> float:
        return float(sorted(np.linalg.norm(pool[i] - other) for other in pool)[k])

    inside = [
        any(np.linalg.norm(s - pool[i]) <= reach(i) for i in range(len(pool))) for s in samples
    ]
    return float(np.mean(inside))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_by_loop(k: int) -> None:
    real, fake = drawn(0, 25, 2), drawn(1, 20, 2, shift=0.8)
    expected = among(fake, real, k), among(real, fake, k)
    assert precision_recall(real, fake, k) == expected
    assert 0 < expected[0] < 1


def test_one_good_image_has_precision_and_no_recall() -> None:
    real = drawn(0, 60, 3)
    fake = np.repeat(real[:1], 60, axis=0)
    precision, recall = precision_recall(real, fake)
    assert (precision, recall) == (1.0, 1 / 60)
    assert diversity(real, fake) == 0.0


@pytest.mark.usefixtures("blocks")
def test_diversity_is_a_ratio_of_mean_distances() -> None:
    real, fake = drawn(0, 12, 3), drawn(1, 9, 3)
    apart = [np.linalg.norm(a - b) for i, a in enumerate(fake) for j, b in enumerate(fake) if i < j]
    assert mean_distance(fake) == pytest.approx(np.mean(apart))
    assert diversity(real, 3 * real + 100) == pytest.approx(3.0)


@pytest.mark.usefixtures("blocks")
def test_nearest_neighbors_by_loop_and_copies_at_zero() -> None:
    samples, pool = drawn(0, 11, 3) + 1e4, drawn(1, 17, 3) + 1e4
    pool[5] = samples[2]
    table = np.sort([[np.linalg.norm(s - p) for p in pool] for s in samples], axis=1)
    assert np.allclose(neighbor_distances(samples, pool, 3), table[:, 2])
    assert neighbor_distances(samples, pool)[2] == 0.0
    assert np.allclose(
        neighbor_distances(pool, pool, itself=True)[0],
        np.sort([np.linalg.norm(pool[0] - p) for p in pool[1:]])[0],
    )


def test_a_generator_of_strangers_has_ratios_of_one() -> None:
    ratios, shares = [], []
    for seed in range(30):
        everyone = drawn(seed, 300, 4)
        fake, train, held_out = everyone[:50], everyone[50:250], everyone[250:]
        ratios.append(nearest_neighbor_ratio(fake, train, held_out))
        shares.append(memorized(fake, train, held_out))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.1)
    assert np.mean(shares) == pytest.approx(0.05, abs=0.04)


def test_poor_images_are_not_called_copies() -> None:
    train, held_out, poor = drawn(0, 200, 4), drawn(1, 50, 4), drawn(2, 2000, 4) * 5 + 9
    assert nearest_neighbor_ratio(poor, train, held_out) == pytest.approx(1.0, abs=0.3)
    assert memorized(poor, train, held_out) < 0.01


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_copies_are_found(noise: float) -> None:
    train, held_out = drawn(0, 60, 4), drawn(1, 60, 4)
    copies = train[::2] + noise * drawn(2, 30, 4)
    assert nearest_neighbor_ratio(copies, train, held_out) < 0.1
    assert memorized(copies, train, held_out) > 0.9


def test_copies_of_few_among_many_are_found_where_all_are_looked_at() -> None:
    train, held_out = drawn(0, 600, 4), drawn(1, 60, 4)
    copies = train[[5, 17, 33, 401]]
    assert memorized(copies, train, held_out) == 1.0
    assert nearest_neighbor_ratio(copies, train, held_out) > 0.3, "as its docstring warns"


def test_a_copy_of_both_leans_on_neither() -> None:
    same = drawn(0, 10, 2)
    assert nearest_neighbor_ratio(same, same, same) == 1.0


def test_the_least_diverse_class_is_found_and_small_classes_say_nothing() -> None:
    labels = np.repeat([0, 1, 2], [40, 30, 9])
    real, fake = drawn(0, 79, 3), drawn(1, 79, 3)
    fake[labels == 1] *= 0.2
    fake[labels == 2] = 0
    fake += 50 * labels[:, None]  # spread between the classes is none within
    wanted = diversity(real[labels == 1], fake[labels == 1])
    assert class_diversity(real, fake, labels) == wanted == pytest.approx(0.2, abs=0.05)
    assert diversity(real, fake) > 5
    assert np.isnan(class_diversity(real[:9], fake[:9], labels[:9]))


def test_figures_without_an_estimate_are_nan() -> None:
    x, one, broken = drawn(0, 8, 3), drawn(1, 1, 3), drawn(2, 8, 3)
    broken[3, 1] = np.nan
    for bad in (one, broken, x[:0]):
        assert np.isnan(kernel_distance(x, bad))
        assert np.isnan(kernel_interval(x, bad, np.random.default_rng(0)).low)
        assert np.isnan(frechet_distance(x, bad))
        assert np.isnan(precision_recall(x, bad)).all()
        assert np.isnan(diversity(x, bad))
    for bad in (broken, x[:0]):
        assert np.isnan(nearest_neighbor_ratio(bad, x, x))
        assert np.isnan(memorized(x, x, bad))
    assert np.isnan(precision_recall(x, x, k=8)).all()


def test_images_of_one_value_have_no_spread_to_compare_with() -> None:
    assert np.isnan(diversity(np.ones((4, 2)), drawn(0, 4, 2)))


def test_samples_at_even_steps() -> None:
    assert spread_out(np.arange(5), 9).tolist() == [0, 1, 2, 3, 4]
    assert len(spread_out(np.arange(0), 3)) == 0
