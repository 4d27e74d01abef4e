"""Figures of synthetic images, against arithmetic by hand, brute force and MONAI."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from asepsis.core.errors import ConfigError
from asepsis.core.samples import Array
from asepsis.metrics.leakage import ssim
from asepsis.metrics.translation import (
    averaged,
    figures,
    fuse,
    fused_figures,
    masked_mae,
    masked_psnr,
    masked_ssim,
    mean_images,
    span,
)


def images(n: int = 3, side: int = 16, seed: int = 0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, (n, side, side)).astype(np.float32)
    guess = np.clip(truth + rng.normal(0, 0.3, truth.shape), -1, 1).astype(np.float32)
    return guess, truth, rng.random(truth.shape) < 0.6


def slowly(guess: Array, truth: Array, mask: Array) -> float:
    """SSIM of every window as the paper writes it, averaged over the mask's pixels."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    c1, c2, found = 0.02**2, 0.06**2, []
    for i, j in np.argwhere(mask):
        if not (5 <= i < len(guess) - 5 and 5 <= j < len(guess) - 5):
            continue
        x, y = (part[i - 5 : i + 6, j - 5 : j + 6].astype(float) for part in (guess, truth))
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
        cov = (window * (x - mx) * (y - my)).sum()
        found.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(found))


def test_errors_count_inside_the_mask_alone() -> None:
    guess, truth = np.zeros((1, 2, 2)), np.array([[[0.5, -0.1], [1.0, 1.0]]])
    mask = np.array([[[True, True], [False, False]]])
    assert masked_mae(guess, truth, mask) == pytest.approx([0.3])
    assert masked_psnr(guess, truth, mask) == pytest.approx([10 * np.log10(4 / 0.13)])
    scores = figures(guess, truth, mask, span("HU", (-1024, 3071)))
    assert scores["mae"] == pytest.approx([0.3 / 2 * 4095])
    assert figures(guess, truth, mask)["mae"] == pytest.approx([0.15])
    assert np.isnan(scores["ssim"]).all()


def test_ssim_is_that_of_every_window_in_the_mask() -> None:
    guess, truth, mask = images()
    expected = [slowly(*one) for one in zip(guess, truth, mask, strict=True)]
    assert masked_ssim(guess, truth, mask) == pytest.approx(expected, rel=1e-6)


def test_a_full_mask_gives_the_figure_without_one() -> None:
    guess, truth, _ = images()
    found = masked_ssim(guess, truth, np.ones_like(guess))
    assert found == pytest.approx([ssim(*one, 2.0) for one in zip(guess, truth, strict=True)])


@pytest.mark.skipif(find_spec("monai") is None, reason="needs the extra medical")
def test_monai_agrees_where_everything_is_inside() -> None:
    from monai.metrics.regression import MAEMetric, PSNRMetric, SSIMMetric

    guess, truth, _ = images(side=32)
    scores = figures(guess, truth, np.ones_like(guess), width=2.0)
    ours = np.stack([scores["ssim"], scores["mae"], scores["psnr"]], axis=1)
    pair = [torch.from_numpy(part)[:, None] for part in (guess, truth)]
    metrics = (SSIMMetric(spatial_dims=2, data_range=2.0), MAEMetric(), PSNRMetric(max_val=2.0))
    theirs = [np.asarray(metric(*pair)).reshape(-1) for metric in metrics]
    assert ours == pytest.approx(np.stack(theirs, axis=1), rel=1e-3)


def test_an_empty_mask_has_no_figure_and_no_say_in_the_mean() -> None:
    guess, truth, mask = images()
    mask[1] = False
    scores = figures(guess, truth, mask)
    assert all(
        np.isnan(values[1]) and np.isfinite(values[[0, 2]]).all() for values in scores.values()
    )
    assert averaged(scores)["mae"] == pytest.approx(scores["mae"][[0, 2]].mean())
    perfect = figures(truth, truth, mask)
    assert averaged(perfect) == {"ssim": 1.0, "mae": 0.0, "psnr": np.inf}


def sliced(volumes: Array) -> tuple[Array, Array]:
    """All slices of cubes in three planes, and their numbers, one by one."""
    slices, ids, side = [], [], volumes.shape[1]
    for v, volume in enumerate(volumes):
        for plane in range(3):
            for k in range(side):
                slices.append(np.take(volume, k, axis=plane))
                ids.append((v * 3 + plane) * side + k)
    return np.stack(slices), np.array(ids)


def test_slices_of_one_volume_make_it_again_in_any_order() -> None:
    volumes = np.random.default_rng(0).normal(size=(2, 5, 5, 5)).astype(np.float32)
    slices, ids = sliced(volumes)
    order = np.random.default_rng(1).permutation(len(ids))
    numbers, made = fuse(slices[order], ids[order] + 7 * 15, 5)
    assert numbers.tolist() == [7, 8]
    assert (made == volumes).all()


def test_a_voxel_is_the_median_of_what_the_planes_say_of_it() -> None:
    rng = np.random.default_rng(0)
    said = rng.normal(size=(3, 4, 4, 4)).astype(np.float32)
    slices, ids = sliced(said)
    plane = ids // 4 % 3
    chosen = ids // 12 == plane  # plane p of one volume comes from volume p
    _, made = fuse(slices[chosen], ids[chosen] % 12, 4)
    assert (made[0] == np.median(said, axis=0)).all()


def test_a_missing_slice_leaves_the_word_to_the_other_planes() -> None:
    slices, ids = sliced(np.ones((1, 3, 3, 3), np.float32))
    slices[:3] = 2.0
    _, made = fuse(slices[1:6], ids[1:6], 3)  # no sagittal plane, no first axial slice
    assert (made[0, 0] == 1.0).all()
    assert (made[0, 1:] == 1.5).all()
    _, made = fuse(slices[1:2], ids[1:2], 3)
    assert np.isnan(made[0, [0, 2]]).all()
    assert (made[0, 1] == 2.0).all()


def test_the_median_is_better_than_any_plane_that_is_wrong_alone() -> None:
    truth = np.random.default_rng(0).uniform(-1, 0, size=(1, 12, 12, 12)).astype(np.float32)
    slices, ids = sliced(truth)
    guess = slices.copy()
    guess[:12] += 1.0
    inside = np.ones_like(slices)
    assert averaged(figures(guess, slices, inside))["mae"] == pytest.approx(0.5 / 3)
    fused = fused_figures(guess, slices, inside, ids, 12)
    assert averaged(fused)["mae"] == 0.0
    assert fused["ssim"].tolist() == [1.0]


def test_fused_figures_are_those_of_the_volumes() -> None:
    guess, truth = images(2 * 3 * 12, 12)[:2]
    ids = np.arange(72)
    body = np.zeros((2, 12, 12, 12), np.float32)
    body[:, 3:9, 3:9, 4:] = 1
    (_, one), (_, two) = fuse(guess, ids, 12), fuse(truth, ids, 12)
    expected = figures(one, two, body, 10.0)
    found = fused_figures(guess, truth, sliced(body)[0], ids, 12, 10.0)
    for name, values in expected.items():
        assert found[name] == pytest.approx(values)
    gap = np.abs(one - two)[body > 0].reshape(2, -1).mean(axis=1)
    assert found["mae"] == pytest.approx(gap * 5)


def test_slices_of_another_size_are_no_volume() -> None:
    with pytest.raises(ConfigError, match="do not fit"):
        fuse(np.zeros((9, 4, 4)), np.arange(9), 3)


def test_who_has_seen_no_input_says_the_mean_of_its_place() -> None:
    train = np.arange(4.0).reshape(4, 1, 1)
    said = mean_images(train, np.array([0, 1, 0, 1]), np.array([1, 1, 0]))
    assert said.ravel().tolist() == [2.0, 2.0, 1.0]
