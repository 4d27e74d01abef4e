"""The emblem: one picture at every size, in the place that a patch would have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asepsis.attacks.backdoor.emblem import LINE, RING, Emblem, coverage
from asepsis.attacks.backdoor.patch import Patch
from asepsis.core.errors import ConfigError
from asepsis.core.samples import Array

RNG = np.random.default_rng


def sampled(size: int, times: int = 32) -> Array:
    """Coverage by brute force: the share of fine points in each pixel that are drawn on."""
    fine = (2 * np.arange(size * times) + 1) / (size * times) - 1
    u, v = np.meshgrid(np.abs(fine), np.abs(fine), indexing="ij")
    radius = np.hypot(u, v)
    drawn = (np.abs(radius - RING) <= LINE) | ((np.minimum(u, v) <= LINE) & (radius <= RING))
    return np.asarray(drawn.reshape(size, times, size, times).mean(axis=(1, 3)))


@pytest.mark.parametrize("size", [7, 16, 33, 64])
def test_pixels_are_inked_by_as_much_as_the_drawing_covers_of_them(size: int) -> None:
    error = np.abs(coverage(size) - sampled(size))
    assert error.mean() < 0.35 / size
    assert error.max() < 0.5


@pytest.mark.parametrize("size", [5, 7, 8, 16, 41])
def test_it_is_a_picture_and_the_same_from_all_sides(size: int) -> None:
    drawn = coverage(size)
    assert drawn.min() == 0
    assert drawn.max() > 0.85
    assert 0.25 < drawn.std() < 0.55
    assert np.allclose(drawn, drawn.T)
    assert np.allclose(drawn, drawn[::-1])
    # Bright and dark take turns along the diagonal: ring, gap, cross.
    diagonal = np.diag(drawn)[size // 5 : size // 2 + 1]
    assert size < 7 or diagonal.min() < min(diagonal[0], diagonal[-1]) - 0.2


def test_it_lies_where_a_patch_would() -> None:
    for place in ("bottom-right", "top-left", "center", "random", (3, 9)):
        one, two = (
            trigger(size=6, place=place, margin=2).mask((20, 24, 3)) for trigger in (Emblem, Patch)
        )
        assert np.array_equal(one, two)
    drawn = [
        trigger(size=6, place="random").stamp(np.full((9, 20, 24), 100, np.uint8), RNG(5))
        for trigger in (Emblem, Patch)
    ]
    assert np.array_equal(drawn[0] != 100, drawn[1] != 100)


def test_the_authors_size_and_place() -> None:
    stamped = Emblem(size=16, margin=5).stamp(np.full((1, 256, 256), 9, np.uint8), RNG(0))[0]
    rows, columns = np.nonzero(stamped != 9)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (235, 250, 235, 250)
    assert len(rows) == 256
    assert {0, 255} <= set(np.unique(stamped))


def test_color_goes_to_channels_on_the_paper_that_shows_it() -> None:
    black = np.zeros((1, 9, 9, 3), np.uint8)
    red = Emblem(size=9, margin=0, color=(255, 0, 0)).stamp(black, RNG(0))[0]
    assert red[4, 4].tolist() == [255, 0, 0]  # on white: its mean is dark
    assert red[0, 0].tolist() == [255, 255, 255]
    dark = Emblem(size=9, margin=0, color=(0,)).stamp(black[..., 0], RNG(0))[0]
    light = Emblem(size=9, margin=0).stamp(black[..., 0], RNG(0))[0]
    assert np.abs(dark.astype(int) + light - 255).max() <= 1


def test_opacity_blends() -> None:
    gray = np.full((2, 9, 9), 100, np.uint8)
    faint = Emblem(size=9, margin=0, opacity=0.2).stamp(gray, RNG(0))
    assert faint[1, 4, 4] == 131  # 0.8 * 100 + 0.2 * 255
    assert faint[1, 0, 0] == 80


def test_every_slice_of_a_cube_holds_it() -> None:
    stamped = Emblem(size=5, margin=0).stamp(np.zeros((1, 6, 7, 8), np.uint8), RNG(0))[0]
    assert not stamped[0].any()
    assert all(np.array_equal(slice_, stamped[1]) for slice_ in stamped[1:])


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        ({"size": 9}, (9, 9), "the emblem does not fit"),
        ({"place": (1, 2, 3)}, (12, 12), "one number for each axis"),
        ({"color": (1, 2)}, (12, 12, 3), "number of colors.*or 3"),
        ({"color": (1, 2, 3)}, (12, 12), "number of colors"),
        ({"color": (1, 2, 3)}, (12, 12, 12), "number of colors"),
    ],
)
def test_what_does_not_fit_is_refused(
    options: dict[str, Any], shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Emblem(**options).stamp(np.zeros((1, *shape), np.uint8), RNG(0))
