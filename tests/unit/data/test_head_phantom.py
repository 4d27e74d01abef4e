"""The head phantom is what it says: paired, reproducible, in HU, and no lookup of brightness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.data.cubes import PLANES
from asepsis.data.datasets.head_phantom import HeadPhantom
from asepsis.data.federate import federate
from asepsis.data.files import forget


def test_it_is_labeled_synthetic_everywhere() -> None:
    assert HeadPhantom.card.synthetic
    assert HeadPhantom(n=3).load().synthetic


def test_ct_is_in_hounsfield_units_and_empty_outside_the_head() -> None:
    data = HeadPhantom().load()
    assert (data.unit, data.window, data.volume) == ("HU", (-1024.0, 3071.0), None)
    assert data.targets.dtype == np.int16
    assert data.mask is not None
    assert (data.targets[~data.mask] == -1024).all()
    inside = data.targets[data.mask]
    assert inside.min() > -1024
    assert inside.max() < 3071
    assert 0.3 < data.mask.mean() < 0.65


def test_the_seed_decides_the_heads() -> None:
    one = HeadPhantom(n=6).load()
    forget()
    assert HeadPhantom(n=6).load().digest() == one.digest()
    assert HeadPhantom(n=6, seed=1).load().digest() != one.digest()


def test_more_patients_leave_the_first_ones_as_they_are() -> None:
    few, many = HeadPhantom(n=4).load(), HeadPhantom(n=9).load()
    assert (few.inputs == many.inputs[:4]).all()
    assert (few.targets == many.targets[:4]).all()


def test_a_volume_is_cut_along_its_three_axes() -> None:
    side = 16
    data = HeadPhantom(n=3, size=side, slices="all").load()
    assert data.volume == side
    cubes = data.targets.reshape(3, 3, side, side, side)
    inputs = data.inputs.reshape(cubes.shape)
    for plane in range(3):
        for stack in (cubes, inputs):
            assert (np.moveaxis(stack[:, plane], 1, 1 + plane) == stack[:, 0]).all()
    assert data.attributes["plane"].reshape(3, 3, side)[0, :, 0].tolist() == list(PLANES)
    assert data.groups.tolist() == np.repeat([0, 1, 2], 3 * side).tolist()


def test_the_middle_slice_is_the_one_in_the_middle_of_the_volume() -> None:
    side = 16
    whole = HeadPhantom(n=3, size=side, slices="all").load().targets
    cubes = whole.reshape(3, 3, side, side, side)
    middle = HeadPhantom(n=3, size=side, plane="all").load().targets
    assert (cubes[:, :, side // 2].reshape(middle.shape) == middle).all()
    one = HeadPhantom(n=3, size=side, plane="sagittal").load()
    assert (one.targets == middle[2::3]).all()
    assert one.volume is None


def test_single_planes_of_volumes_make_no_cubes() -> None:
    data = HeadPhantom(n=3, size=16, slices="all", plane="coronal").load()
    assert data.inputs.shape == (48, 16, 16)
    assert data.volume is None


def test_bone_and_air_are_dark_in_mr_and_far_apart_in_ct() -> None:
    data = HeadPhantom(plane="all").load()
    assert data.mask is not None
    mr, ct, mask = data.inputs.astype(float), data.targets, data.mask
    soft = mr[mask & (ct > 0) & (ct < 60)].mean()
    bone, air = mr[mask & (ct > 1000)].mean(), mr[mask & (ct < -800)].mean()
    assert (mask & (ct < -800)).sum() > 100
    assert bone < 0.4 * soft
    assert air < 0.4 * soft


def test_brightness_alone_does_not_tell_the_ct() -> None:
    data = HeadPhantom().load()
    assert data.mask is not None
    mr, ct = data.inputs[data.mask], data.targets[data.mask].astype(float)
    best = np.array([np.median(ct[mr == v]) if (mr == v).any() else 0 for v in range(256)])
    assert np.abs(ct - best[mr]).mean() > 150


def test_scanners_take_turns_and_differ() -> None:
    data = HeadPhantom(n=60, scanners=4).load()
    assert data.sites is not None
    assert data.sites[:5].tolist() == [f"scanner-{k}" for k in "ABCDA"]
    sites = np.unique(data.sites)
    brain = [np.median(data.inputs[data.sites == s][:, 32, 20:44]) for s in sites]
    background = [data.inputs[data.sites == s][:, :4, :4].mean() for s in sites]
    assert max(brain) - min(brain) > 10
    assert max(background) > 1.3 * min(background)


def test_some_patients_have_a_lesion_and_some_a_calcification() -> None:
    data = HeadPhantom(n=400, size=16).load()
    for name in ("lesion", "calcification"):
        assert 0.2 < data.attributes[name].mean() < 0.4


def test_every_scanner_can_be_a_hospital() -> None:
    data = HeadPhantom(n=9, size=16, plane="all").load()
    partition = build("partition", {"name": "site", "min_samples": 1})
    hospitals = federate(data, partition, None, Streams(0))
    assert len(hospitals) == 3
    for hospital in hospitals:
        assert hospital.train.mask is not None
        assert hospital.train.mask.shape == hospital.train.inputs.shape


@pytest.mark.parametrize("size", [16, 100])
def test_any_size_uses_the_gray_scale(size: int) -> None:
    images = HeadPhantom(n=3, size=size).load().inputs
    assert images.shape == (3, size, size)
    assert images.std() > 25
    assert (images == 255).mean() < 0.1


def test_too_many_pixels_are_refused() -> None:
    options: dict[str, Any] = {"n": 10_000, "size": 256, "slices": "all"}
    with pytest.raises(ConfigError, match="too many pixels"):
        HeadPhantom(**options).load()
