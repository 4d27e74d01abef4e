"""Noise has the stated size, on what it was asked for and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from asepsis.attacks.data.noise import Noise
from asepsis.core.errors import ConfigError
from asepsis.core.samples import Array, DataFacts, Kind, Samples

IMAGES = DataFacts(Kind.IMAGE, ("a", "b", "c"))
TABLE = DataFacts(Kind.TABLE, ("a", "b", "c"))
FINDINGS = DataFacts(Kind.MULTILABEL_IMAGE, ("a", "b", "c"))
PAIRS = DataFacts(Kind.PAIRED_IMAGE, ())


def hospital(inputs: Array, targets: Array) -> Samples:
    return Samples(inputs, targets, np.arange(len(inputs)), np.arange(len(inputs)))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("attack", "sigma"), [(Noise(level="low"), 12.75), (Noise(sigma=0.1), 25.5)]
)
def test_pixels_get_the_stated_deviation_and_labels_stay(attack: Noise, sigma: float) -> None:
    own = hospital(np.full((20, 40, 40), 128, np.uint8), np.arange(20) % 3)
    made = attack.poison(own, IMAGES, rng())
    noise = made.inputs.astype(float) - 128
    assert noise.std() == pytest.approx(sigma, rel=0.03)
    assert abs(noise.mean()) < sigma / 20
    assert np.array_equal(made.targets, own.targets)


def test_high_noise_is_clipped_to_pixels() -> None:
    own = hospital(np.full((4, 40, 40), 128, np.uint8), np.zeros(4, int))
    made = Noise().poison(own, IMAGES, rng()).inputs
    at_the_ends = np.mean((made == 0) | (made == 255))
    assert 0.28 < at_the_ends < 0.36  # P(|N(0, 127.5)| > 127.5) = 0.317


def test_features_get_a_multiple_of_their_own_deviation_and_stay_missing() -> None:
    table = np.stack([rng().normal(5, s, 4000) for s in (1.0, 100.0, 0.0)], axis=1)
    table = table.astype(np.float32)
    table[0] = np.nan
    own = hospital(table, np.zeros(4000, int))
    made = Noise(level="low").poison(own, TABLE, rng()).inputs
    noise = made - table
    assert np.isnan(made[0]).all()
    assert np.nanstd(noise, axis=0) == pytest.approx([0.2, 20.0, 0.0], rel=0.05)
    assert made.dtype == np.float32


def test_signals_get_noise_by_channel() -> None:
    signals = rng().normal(size=(50, 100, 2)).astype(np.float32) * np.array([1, 10], np.float32)
    own = hospital(signals, np.zeros(50, int))
    made = Noise(sigma=1.0).poison(own, DataFacts(Kind.SEQUENCE, ("a", "b")), rng()).inputs
    assert (made - signals).std(axis=(0, 1)) == pytest.approx([1, 10], rel=0.05)


@pytest.mark.parametrize(
    ("attack", "wrong"), [({"level": "low"}, 30), ({}, 150), ({"share": 1.0}, 300)]
)
def test_a_stated_share_of_labels_becomes_any_other_class(
    attack: dict[str, float], wrong: int
) -> None:
    own = hospital(np.zeros((300, 8, 8), np.uint8), np.full(300, 1))
    made = Noise(on="labels", **attack).poison(own, IMAGES, rng())  # type: ignore[arg-type]
    counts = np.bincount(made.targets, minlength=3)
    assert 300 - counts[1] == wrong
    assert abs(counts[0] - counts[2]) < 4 * np.sqrt(wrong)
    assert np.array_equal(made.inputs, own.inputs)


def test_the_share_of_findings_counts_entries() -> None:
    own = hospital(np.zeros((100, 8, 8), np.uint8), np.zeros((100, 3), np.uint8))
    made = Noise(on="labels", share=0.2).poison(own, FINDINGS, rng())
    assert int(made.targets.sum()) == 60
    assert made.targets.dtype == np.uint8


@pytest.mark.parametrize(
    ("on", "moved"), [("inputs", (1, 0)), ("labels", (0, 1)), ("both", (1, 1))]
)
def test_paired_images_get_noise_where_asked(on: str, moved: tuple[int, int]) -> None:
    images = np.full((3, 30, 30), 128, np.uint8)
    own = hospital(images, images.copy())
    made = Noise(on=on, sigma=0.05).poison(own, PAIRS, rng())  # type: ignore[arg-type]
    spread = (made.inputs.std(), made.targets.std())
    assert spread == pytest.approx([12.75 * one for one in moved], rel=0.05)


HU = DataFacts(Kind.PAIRED_IMAGE, (), unit="HU", window=(-1024.0, 3071.0))


@pytest.mark.parametrize(("level", "sigma"), [("low", 204.75), ("high", 2047.5)])
def test_targets_in_a_unit_get_a_share_of_their_window(level: str, sigma: float) -> None:
    own = hospital(np.zeros((4, 60, 60), np.uint8), np.full((4, 60, 60), 1024, np.int16))
    made = Noise(on="labels", level=level).poison(own, HU, rng()).targets  # type: ignore[arg-type]
    assert made.dtype == np.int16
    assert made.min() >= -1024
    assert made.max() <= 3071
    # Clipping at one deviation (high) leaves the share at or beyond it: P(|N(0, 1)| > 1) = 0.317.
    assert np.mean(np.abs(made - 1024.0) >= sigma - 2) == pytest.approx(0.317, abs=0.02)


def test_noise_leaves_masks_alone() -> None:
    images = np.full((2, 8, 8), 128, np.uint8)
    mask = rng().random((2, 8, 8)) < 0.5
    own = Samples(images, images.astype(np.int16), np.arange(2), np.arange(2), mask)
    made = Noise(on="both").poison(own, HU, rng())
    assert made.mask is not None
    assert np.array_equal(made.mask, rng().random((2, 8, 8)) < 0.5)


@pytest.mark.parametrize(
    ("attack", "facts", "name"),
    [
        (Noise(share=0.1), IMAGES, "share"),
        (Noise(on="labels", sigma=0.1), IMAGES, "sigma"),
        (Noise(on="both", share=0.1), PAIRS, "share"),
    ],
)
def test_an_amount_that_nothing_uses_is_refused(attack: Noise, facts: DataFacts, name: str) -> None:
    own = hospital(np.zeros((2, 8, 8), np.uint8), np.zeros(2, int))
    with pytest.raises(ConfigError, match=f"attack.{name}: noise on {attack.on} has no {name}"):
        attack.poison(own, facts, rng())
