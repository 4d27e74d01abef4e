"""Paired images as the task prepares, trains on and scores them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asepsis.core.errors import ConfigError
from asepsis.core.samples import Array, DataFacts, Kind, Samples
from asepsis.tasks.translation import Translation

FACTS = DataFacts(Kind.PAIRED_IMAGE, ())


def samples(inputs: Array, targets: Array | None = None, mask: Array | None = None) -> Samples:
    ids = np.arange(len(inputs))
    return Samples(inputs, inputs if targets is None else targets, ids, ids, mask)


def ramp(n: int = 2, side: int = 12) -> Array:
    values = np.arange(n * side * side) % 256
    return values.reshape(n, side, side).astype(np.uint8)


def test_eight_bits_become_one_range() -> None:
    own = samples(ramp(2, 16), 255 - ramp(2, 16))
    shard = Translation().fit([own], FACTS)(own)
    assert shard.inputs.shape == (2, 1, 16, 16)
    assert shard.targets.shape == (2, 2, 16, 16)
    assert shard.inputs.dtype is shard.targets.dtype is torch.float32
    assert shard.inputs.min() == -1
    assert shard.inputs.max() == 1
    assert torch.allclose(shard.targets[:, :1], -shard.inputs, atol=1e-6)
    assert (shard.targets[:, 1] == 1).all()


def test_hounsfield_units_go_by_the_window() -> None:
    ct = np.full((1, 12, 12), -1024, np.int16)
    ct[0, 0, :3] = (3071, 4000, 0)
    facts = DataFacts(Kind.PAIRED_IMAGE, (), "HU", (-1024.0, 3071.0))
    task = Translation().fitted([], facts)
    shard = task.fit([], facts)(samples(ramp(1), ct))
    assert shard.targets[0, 0, 0, :4].tolist() == pytest.approx([1, 1, 2048 / 4095 - 1, -1])
    guess = shard.targets[:, :1].numpy().copy()
    guess[0, 0, 0, 2] += 144 * 100 * 2 / 4095
    assert task.metrics(guess, shard.targets.numpy())["mae"] == pytest.approx(100, rel=1e-4)
    coded = task.fit([], facts)(samples(ramp(1), np.full((1, 12, 12), 255, np.uint8)))
    assert (coded.targets[:, 0] == 1).all()


def test_nothing_but_the_body_is_seen() -> None:
    mask = np.zeros((1, 12, 12), bool)
    mask[0, 2:5, 2:5] = True
    pixels = np.full((1, 12, 12), 200, np.uint8)
    shard = Translation().fit([], FACTS)(samples(pixels, mask=mask))
    inner = torch.from_numpy(mask)
    for image in (shard.inputs[:, 0], shard.targets[:, 0]):
        assert (image[~inner] == -1).all()
        assert (image[inner] > 0.5).all()
    assert (shard.targets[:, 1].bool() == inner).all()


def test_a_smaller_pixel_is_the_mean_of_its_area() -> None:
    pixels = np.zeros((1, 24, 24), np.uint8)
    pixels[0, 0, 0], pixels[0, 1, 1] = 100, 155
    mask = np.zeros((1, 24, 24), bool)
    mask[0, :2, :2] = True
    mask[0, 2, 2] = True
    shard = Translation(size=12).fit([], FACTS)(samples(pixels, mask=mask))
    assert shard.inputs.shape == (1, 1, 12, 12)
    assert shard.inputs[0, 0, 0, 0] == pytest.approx(255 / 4 / 127.5 - 1)
    assert shard.targets[0, 1].sum() == 1


def test_the_loss_is_that_of_every_sample_with_and_without_a_mask() -> None:
    outputs = torch.zeros(2, 1, 2, 2)
    targets = torch.zeros(2, 2, 2, 2)
    targets[0, 0] = 0.5
    targets[1, 0, 0, 0] = -1
    assert Translation().loss(outputs, targets).tolist() == [0.5, 0.25]
    assert Translation().loss(outputs, targets[:, :1]).tolist() == [0.5, 0.25]
    assert Translation(objective="mse").loss(outputs, targets).tolist() == [0.25, 0.25]


def test_answers_are_images_in_range() -> None:
    made = Translation().probabilities(torch.tensor([[[[-3.0, 0.25], [1.0, 9.0]]]]))
    assert made.flatten().tolist() == [-1, 0.25, 1, 1]


def test_metrics_are_the_means_of_the_samples_own() -> None:
    own = samples(ramp(3, 20))
    targets = Translation().fit([], FACTS)(own).targets.numpy()
    rng = np.random.default_rng(0)
    guess = np.clip(targets[:, :1] + rng.normal(0, 0.2, (3, 1, 20, 20)), -1, 1)
    each = Translation().per_sample(guess, targets)
    assert list(each) == ["ssim", "mae", "psnr"]
    scores = Translation().metrics(guess, targets)
    assert scores == {name: pytest.approx(values.mean()) for name, values in each.items()}
    some = Translation().metrics(guess[:1], targets[:1])
    assert some["mae"] == pytest.approx(each["mae"][0])


def test_volumes_are_scored_where_slices_have_their_own_size() -> None:
    targets = np.ones((36, 2, 12, 12), np.float32)
    guess = targets[:, :1].copy()
    guess[:12] = 0.0
    scores = Translation().whole(guess, targets, np.arange(36), 12)
    assert scores == {"fused_ssim": 1.0, "fused_mae": 0.0, "fused_psnr": np.inf}
    assert Translation().whole(guess, targets, np.arange(36), 24) == {}


def test_the_prior_is_the_mean_target() -> None:
    train = np.stack([np.full((2, 3, 3), value) for value in (0.0, 1.0)])
    said = Translation().prior(train, np.zeros(2), np.zeros(5))
    assert said.shape == (5, 1, 3, 3)
    assert (said == 0.5).all()


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 11×11"):
        Translation().fit([], FACTS)(samples(ramp(1, 8)))
    with pytest.raises(ConfigError, match="from low to high"):
        Translation(window=(1.0, 0.0)).fit([], FACTS)
    with pytest.raises(ConfigError, match="no target class"):
        Translation().backdoor_metrics(np.ones(1), np.ones(1), np.ones(1), 0)
