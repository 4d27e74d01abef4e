"""Image files of other depths and sizes than expected."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import DataError
from asepsis.data.images import read_images

pillow = pytest.importorskip("PIL.Image")

RAMP = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize(
    ("pixels", "name"),
    [
        ((RAMP * 257).astype(np.uint16), "deep.png"),
        ((RAMP * 257).astype(np.uint16), "deep.tif"),
        ((RAMP * 2**20).astype(np.int32), "deep.tif"),
        ((RAMP / 255).astype(np.float32), "deep.tif"),
    ],
)
def test_gray_values_of_more_than_8_bits_are_refused_not_clipped(
    tmp_path: Path, pixels: Any, name: str
) -> None:
    pillow.fromarray(pixels).save(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: .*8 bits"):
        read_images([tmp_path / name], 16, tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_way_to_store_8_bits_is_read(tmp_path: Path, mode: str) -> None:
    halves = np.repeat(np.array([0, 255], np.uint8), 128).reshape(16, 16)
    name = tmp_path / ("some.tif" if mode == "CMYK" else "some.png")
    pillow.fromarray(halves).convert(mode).save(name)
    assert (read_images([name], 16, tmp_path)[0] == halves).all()
    assert read_images([name], 8, tmp_path, color=True).shape == (1, 8, 8, 3)


def test_a_large_image_below_the_limit_is_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = tmp_path / "large.png"
    pillow.fromarray(np.full((20, 20), 7, np.uint8)).save(name)
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read_images([name], 8, tmp_path) == 7).all()


def photo(shape: tuple[int, int]) -> Any:
    """Slow waves with noise: a crop that is off by a few pixels has other colors."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = np.stack([60 * np.sin(x / 90 + k) + 60 * np.cos(y / 70 - k) for k in range(3)], -1)
    noise = np.random.default_rng(1).normal(128, 12, waves.shape)
    return pillow.fromarray((waves + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("shape", [(450, 600), (767, 1023), (1023, 766)])
@pytest.mark.parametrize("center", [False, True])
def test_a_photo_decoded_small_looks_like_one_decoded_whole(
    tmp_path: Path, shape: tuple[int, int], center: bool
) -> None:
    name = tmp_path / "photo.jpg"
    photo(shape).save(name, quality=90)
    small, whole = (
        read_images([name], 32, tmp_path, color=True, center=center, draft=draft).astype(int)
        for draft in (True, False)
    )
    differences = np.abs(small - whole)
    assert 0 < differences.mean() < 1
    assert differences.max() <= 8


def test_only_photos_are_decoded_small_and_only_where_enough_is_left(tmp_path: Path) -> None:
    for name, size in (("some.png", 32), ("some.bmp", 32), ("some.jpg", 200)):
        photo((450, 600)).save(tmp_path / name)
        small, whole = (
            read_images([tmp_path / name], size, tmp_path, color=True, draft=draft)
            for draft in (True, False)
        )
        assert (small == whole).all()
