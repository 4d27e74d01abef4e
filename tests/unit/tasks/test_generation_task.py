"""The task of making images: ranges, shapes, resizing, and what it refuses to score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from asepsis.core.errors import ConfigError
from asepsis.core.markers import generates
from asepsis.core.registry import build
from asepsis.core.samples import Array, DataFacts, Kind, Samples, Shard
from asepsis.tasks.generation import Generation, pixels

FACTS = DataFacts(Kind.IMAGE, ("benign", "malignant"))


def prepared(images: Array, size: int | None = None) -> Shard:
    ids = np.arange(len(images))
    return Generation(size=size).fit([], FACTS)(Samples(images, ids % 2, ids, ids))


def noise(*shape: int) -> Array:
    return np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(("shape", "channels"), [((5, 9, 7), 1), ((5, 9, 7, 3), 3)])
def test_every_gray_value_survives_the_way_there_and_back(
    shape: tuple[int, ...], channels: int
) -> None:
    images = noise(*shape)
    made = prepared(images)
    assert made.inputs.shape == (5, channels, 9, 7)
    assert made.inputs.dtype == torch.float32
    assert made.inputs.abs().max() <= 1
    assert made.inputs.is_contiguous(memory_format=torch.channels_last)
    assert made.targets.tolist() == [0, 1, 0, 1, 0]
    assert (pixels(made.inputs) == images).all()


@pytest.mark.parametrize("extents", [(28, 28), (40, 40), (28, 40), (33, 31)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_images_of_any_shape_become_squares_within_the_range(
    extents: tuple[int, int], channels: tuple[int, ...]
) -> None:
    made = prepared(noise(3, *extents, *channels), size=32)
    assert made.inputs.shape == (3, 3 if channels else 1, 32, 32)
    assert made.inputs.min() >= -1
    assert made.inputs.max() <= 1
    assert made.inputs.is_contiguous(memory_format=torch.channels_last)


def test_a_smaller_pixel_is_the_mean_of_its_area() -> None:
    images = noise(2, 12, 12)
    boxes = images.reshape(2, 4, 3, 4, 3).mean(axis=(2, 4)) / 127.5 - 1
    assert prepared(images, size=4).inputs[:, 0].numpy() == pytest.approx(boxes, abs=1e-6)


def test_a_larger_image_lies_between_its_neighbors_on_a_line() -> None:
    ramp = np.tile(np.arange(0, 64, 8, dtype=np.uint8), (1, 8, 1))
    row = (prepared(ramp, size=16).inputs[0, 0, 5].double() + 1) * 127.5
    # Centers of new pixels lie at (i + 1/2) / 2 - 1/2 of the old ones; the edge is repeated.
    places = np.clip((np.arange(16) + 0.5) / 2 - 0.5, 0, 7) * 8
    assert row.numpy() == pytest.approx(places, abs=1e-4)


def test_a_shrinking_side_is_not_thinned_out_when_the_other_grows() -> None:
    stripes = np.zeros((1, 4, 64), np.uint8)
    stripes[..., ::2] = 255
    inner = prepared(stripes, size=16).inputs[..., 1:-1]
    assert inner.abs().max() < 0.1, "alternate columns average to gray; picking would keep one"


def test_each_image_is_prepared_alike_alone_and_in_a_crowd() -> None:
    images = noise(1030, 6, 6)
    crowd = prepared(images, size=8).inputs
    assert torch.equal(crowd[1029:], prepared(images[1029:], size=8).inputs)


def test_a_hospital_without_images_keeps_the_shape() -> None:
    assert prepared(np.zeros((0, 6, 6, 3), np.uint8), size=8).inputs.shape == (0, 3, 8, 8)


def test_the_loss_reads_the_column_of_the_class() -> None:
    outputs, targets = torch.tensor([[0.0, 9.0], [9.0, 1.0]]), torch.tensor([0, 1])
    wanted = [math.log(2), math.log1p(math.exp(-1))]
    assert Generation().loss(outputs, targets).tolist() == pytest.approx(wanted)
    assert Generation().probabilities(outputs)[0, 0] == 0.5


def test_without_classes_every_label_reads_the_only_column() -> None:
    losses = Generation().loss(torch.zeros(2, 1), torch.tensor([0, 6]))
    assert losses.tolist() == pytest.approx([math.log(2)] * 2)


def test_what_is_no_pixel_is_drawn_all_the_same() -> None:
    odd = np.array([[[[np.nan, np.inf, -np.inf, 3.0]]]])
    assert pixels(odd).tolist() == [[[128, 255, 0, 255]]]


def test_a_critic_is_no_score_and_a_generator_has_no_input_to_stamp() -> None:
    task, none = Generation(), np.zeros((1, 1))
    with pytest.raises(ConfigError, match="no score"):
        task.metrics(none, none)
    with pytest.raises(ConfigError, match="trigger"):
        task.backdoor_metrics(none, none, none, 0)


def test_the_shelf_knows_the_task_and_that_it_makes_images() -> None:
    task = build("task", {"name": "generation", "size": 32})
    assert task == Generation(size=32)
    assert generates(task)
    with pytest.raises(ConfigError, match="size"):
        build("task", {"name": "generation", "size": 2})
