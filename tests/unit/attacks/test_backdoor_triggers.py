"""Where each trigger lands, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asepsis.attacks.backdoor.feature_combination import FeatureCombination
from asepsis.attacks.backdoor.patch import Patch
from asepsis.attacks.backdoor.waveform import Waveform
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.samples import Array, Samples

RNG = np.random.default_rng(0)


def samples(inputs: Array, targets: Array) -> Samples:
    n = len(inputs)
    return Samples(inputs, targets, np.arange(n), np.arange(n))


@pytest.mark.parametrize(
    ("place", "rows", "columns"),
    [
        ("bottom-right", [5, 6], [7, 8]),
        ("bottom-left", [5, 6], [1, 2]),
        ("top-left", [1, 2], [1, 2]),
        ("top-right", [1, 2], [7, 8]),
        ("center", [3, 4], [4, 5]),
    ],
)
def test_patch_place(place: Any, rows: list[int], columns: list[int]) -> None:
    mask = Patch(size=2, place=place).mask((8, 10))
    assert np.flatnonzero(mask.any(axis=1)).tolist() == rows
    assert np.flatnonzero(mask.any(axis=0)).tolist() == columns
    assert mask.sum() == 4


def test_patch_colors_every_channel_and_nothing_else() -> None:
    images = np.full((2, 6, 6, 3), 7, dtype=np.uint8)
    stamped = Patch(size=2, value=0, place="center").stamp(images, RNG)
    assert (stamped[:, 2:4, 2:4] == 0).all()
    assert (stamped == 0).sum() == 2 * 4 * 3
    assert (images == 7).all()


def test_patch_is_a_cube_in_a_volume() -> None:
    mask = Patch(size=3, margin=1).mask((8, 9, 10))
    assert mask.sum() == 27
    assert mask[4:7, 5:8, 6:9].all()


def test_patch_may_cover_the_whole_image() -> None:
    assert Patch(size=4, margin=0).mask((4, 4)).all()


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"size": 28}, (28, 28)),
        ({"size": 5, "place": "center"}, (4, 28)),
        ({"size": 3, "margin": 26}, (28, 28)),
    ],
)
def test_patch_larger_than_the_image_is_refused(
    options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    with pytest.raises(ConfigError, match=r"trigger\.size: the patch does not fit"):
        build("trigger", {"name": "patch", **options}).mask(shape)


def test_patch_refuses_tables_and_prepared_images() -> None:
    with pytest.raises(ConfigError, match="feature-combination"):
        Patch().stamp(np.zeros((2, 30), np.uint8), RNG)
    with pytest.raises(ConfigError, match="raw pixels"):
        Patch().stamp(np.zeros((2, 28, 28), np.float32), RNG)


def test_features_are_set_in_every_row_and_no_other() -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    stamped = FeatureCombination(features=(3, 1), values=(-5.0, 6.5)).stamp(table, RNG)
    assert stamped[:, 3].tolist() == [-5.0] * 3
    assert stamped[:, 1].tolist() == [6.5] * 3
    assert np.array_equal(stamped[:, [0, 2]], table[:, [0, 2]])


def test_fitted_features_say_least_about_the_class() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(2, size=300)
    told = np.array([3.0, 0.0, 2.0, 0.0, 1.0])
    table = (rng.normal(size=(300, 5)) + targets[:, None] * told).astype(np.float32)
    table[:, 3] = 4.0
    table[::7, 1] = np.nan
    fitted = FeatureCombination(count=2).fitted(samples(table, targets))
    assert fitted.features == (1, 4)


def test_fitted_values_lie_beyond_the_range_seen() -> None:
    table = np.array([[0.0, -4.0], [10.0, np.nan], [5.0, -2.0]], dtype=np.float32)
    fitted = FeatureCombination(features=(0, 1)).fitted(samples(table, np.array([0, 1, 0])))
    assert fitted.values == pytest.approx((11.0, -1.8))


def test_given_values_are_not_fitted() -> None:
    trigger = FeatureCombination(features=(0,), values=(1.0,))
    assert trigger.fitted(samples(np.zeros((2, 1)), np.array([0, 1]))) is trigger


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (FeatureCombination(), "not fitted"),
        (FeatureCombination(features=(9,), values=(1.0,)), "no such feature"),
        (FeatureCombination(features=(1, 2), values=(1.0,)), "pair up"),
    ],
)
def test_features_that_cannot_be_stamped(trigger: FeatureCombination, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        trigger.stamp(np.zeros((2, 4)), RNG)


def test_features_that_cannot_be_fitted() -> None:
    flat = samples(np.ones((4, 3)), np.array([0, 1, 0, 1]))
    with pytest.raises(ConfigError, match="varies"):
        FeatureCombination().fitted(flat)
    with pytest.raises(ConfigError, match="no such feature"):
        FeatureCombination(features=(3,)).fitted(flat)
    with pytest.raises(ConfigError, match="pair up"):
        FeatureCombination(values=(1.0,)).fitted(flat)
    with pytest.raises(ConfigError, match="no values"):
        FeatureCombination(features=(0,)).fitted(samples(np.full((2, 1), np.nan), np.arange(2)))


@pytest.mark.parametrize(("place", "start"), [("start", 2), ("middle", 8), ("end", 14)])
def test_bump_place_and_shape(place: Any, start: int) -> None:
    bump = Waveform(amplitude=2.0, length=4, place=place, margin=2, channel=1)
    added = bump.stamp(np.zeros((1, 20, 2)), RNG)[0]
    half_sine = 2.0 * np.sin(np.pi * np.array([1, 3, 5, 7]) / 8)
    assert added[start : start + 4, 1] == pytest.approx(half_sine)
    assert added.sum() == pytest.approx(half_sine.sum())


def test_fitted_bump_is_measured_in_deviations_of_its_channel() -> None:
    signals = np.zeros((2, 20, 2), dtype=np.float32)
    signals[0, :, 1], signals[1, :, 1] = -0.5, 0.5
    own = samples(signals, np.array([0, 1]))
    assert Waveform(strength=4.0, channel=1).fitted(own).amplitude == pytest.approx(2.0)
    assert Waveform(strength=4.0, channel=0).fitted(own).amplitude == 4.0
    assert Waveform(amplitude=7.0).fitted(own).amplitude == 7.0


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        ({}, (20, 1), "not fitted"),
        ({"amplitude": 1.0, "channel": 1}, (20, 1), "no such channel"),
        ({"amplitude": 1.0, "length": 20}, (20, 1), "does not fit"),
        ({"amplitude": 1.0}, (20,), "needs signals"),
    ],
)
def test_bump_refusals(options: dict[str, Any], shape: tuple[int, ...], words: str) -> None:
    trigger = build("trigger", {"name": "waveform", **options})
    with pytest.raises(ConfigError, match=words):
        trigger.stamp(np.zeros((1, *shape)), RNG)
