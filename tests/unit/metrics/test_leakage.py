"""Reconstruction figures against MONAI, definitions and brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from asepsis.core.errors import ConfigError
from asepsis.metrics.leakage import match, mse, psnr, reconstruction_metrics, ssim


@pytest.mark.parametrize("noise", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 21)])
def test_ssim_agrees_with_monai(noise: float, shape: tuple[int, ...]) -> None:
    regression = pytest.importorskip("monai.metrics.regression")
    rng = np.random.default_rng(5)
    truth = gaussian_filter(rng.random(shape), (0, 2, 2))
    guess = truth + noise * rng.normal(size=shape)
    metric = regression.SSIMMetric(spatial_dims=2, data_range=1.0, win_size=11, kernel_sigma=1.5)
    expected = metric(
        torch.from_numpy(guess)[None].float(), torch.from_numpy(truth)[None].float()
    ).item()
    assert ssim(guess, truth, data_range=1.0) == pytest.approx(expected, abs=2e-4)


def test_an_image_equals_itself() -> None:
    image = np.random.default_rng(0).random((28, 28))
    assert mse(image, image) == 0.0
    assert psnr(image, image, 1.0) == float("inf")
    assert ssim(image, image, 1.0) == pytest.approx(1.0)


def test_psnr_does_not_depend_on_the_unit() -> None:
    rng = np.random.default_rng(0)
    guess, truth = rng.random((2, 20, 20))
    assert psnr(255 * guess, 255 * truth, 255) == pytest.approx(psnr(guess, truth, 1.0))
    assert ssim(255 * guess, 255 * truth, 255) == pytest.approx(ssim(guess, truth, 1.0))


def test_unsigned_bytes_do_not_wrap_around() -> None:
    assert mse(np.array([0], dtype=np.uint8), np.array([255], dtype=np.uint8)) == 255.0**2


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    with pytest.raises(ConfigError, match="11×11"):
        ssim(np.zeros((10, 28)), np.zeros((10, 28)), 1.0)


def test_match_is_the_best_of_all_assignments() -> None:
    rng = np.random.default_rng(2)
    guesses, truths = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    _, columns = match(guesses, truths)

    def cost(order: tuple[int, ...]) -> float:
        return sum(float(((guesses[i] - truths[j]) ** 2).sum()) for i, j in enumerate(order))

    assert tuple(columns) == min(permutations(range(4)), key=cost)


def test_non_finite_guesses_are_matched_last() -> None:
    guesses = np.array([[np.nan], [1.0]])
    rows, columns = match(guesses, np.array([[1.0], [9.0]]))
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 1, 1: 0}


def test_a_shuffled_batch_is_a_perfect_reconstruction() -> None:
    truths = np.random.default_rng(0).random((3, 1, 16, 16))
    found = reconstruction_metrics(truths[[2, 0, 1]] + 0.1, truths, data_range=1.0)
    assert found["mse"] == pytest.approx(0.01)
    assert found["psnr"] == pytest.approx(20.0)
    assert 0.5 < found["ssim"] < 1.0


def test_tables_have_no_ssim() -> None:
    found = reconstruction_metrics(np.zeros((2, 30)), np.ones((2, 30)), data_range=1.0)
    assert found["mse"] == 1.0
    assert np.isnan(found["ssim"])
