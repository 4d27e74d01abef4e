"""Augmentation by brute force: each image on its own, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from asepsis.training.diffaugment import (
    DiffAugment,
    color,
    cutout,
    holed,
    known_policy,
    shifted,
    translation,
)

EVERY = "color,translation,cutout"


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 4, channels: int = 3, height: int = 6, width: int = 8) -> Tensor:
    return torch.rand(n, channels, height, width, generator=draws(9)) * 2 - 1


def by_pixel(
    given: Tensor, from_where: Callable[[int, int, int], tuple[int, int] | None]
) -> Tensor:
    made = torch.zeros_like(given)
    n, _, height, width = given.shape
    for i in range(n):
        for row in range(height):
            for column in range(width):
                source = from_where(i, row, column)
                if source and 0 <= source[0] < height and 0 <= source[1] < width:
                    made[i, :, row, column] = given[i, :, source[0], source[1]]
    return made


def test_images_are_shifted_as_pixel_by_pixel() -> None:
    down, right = torch.tensor([0, 2, -1, 9]), torch.tensor([0, -3, 1, 0])
    expected = by_pixel(images(), lambda i, r, c: (r - int(down[i]), c - int(right[i])))
    assert torch.equal(shifted(images(), down, right), expected)


def test_holes_are_cut_as_pixel_by_pixel() -> None:
    top, left = torch.tensor([0, 2, -1, 5]), torch.tensor([0, -3, 4, 7])

    def outside(i: int, row: int, column: int) -> tuple[int, int] | None:
        down, right = row - int(top[i]), column - int(left[i])
        return None if 0 <= down < 3 and 0 <= right < 4 else (row, column)

    assert torch.equal(holed(images(), top, left, 3, 4), by_pixel(images(), outside))


def test_translation_moves_up_to_an_eighth_each_way() -> None:
    marked = torch.zeros(400, 1, 32, 16)
    marked[:, :, 16, 8] = 1
    where = translation(marked, draws())[:, 0].flatten(1).argmax(1)
    assert set((where // 16 - 16).tolist()) == set(range(-4, 5))
    assert set((where % 16 - 8).tolist()) == set(range(-2, 3))


@pytest.mark.parametrize("side", [8, 9])
def test_cutout_takes_a_box_of_half_the_side_centered_anywhere(side: int) -> None:
    hole = int(side / 2 + 0.5)
    gone = cutout(torch.ones(600, 1, side, side), draws())[:, 0] == 0
    rows, columns = gone.any(2), gone.any(1)
    assert torch.equal(gone, rows[:, :, None] & columns[:, None, :])
    for lines in (rows, columns):
        assert set(lines.sum(1).tolist()) == set(range((hole + 1) // 2, hole + 1))
        assert lines.any(0).all()
        first, last = lines.float().argmax(1), side - 1 - lines.flip(1).float().argmax(1)
        assert torch.equal(last - first + 1, lines.sum(1))


def test_brightness_saturation_and_contrast_stay_in_their_ranges() -> None:
    given = images(500)
    made = color(given, draws())
    brighter = (made - given).mean((1, 2, 3))  # the other two leave an image's mean as it is
    assert -0.5 <= brighter.min() < -0.48
    assert 0.48 < brighter.max() <= 0.5
    gray, was = made.mean(1), given.mean(1)  # saturation leaves a pixel's mean as it is
    contrast = gray.flatten(1).std(1) / was.flatten(1).std(1)
    assert 0.5 <= contrast.min() < 0.52
    assert 1.48 < contrast.max() <= 1.5
    colors = (made - gray[:, None]).flatten(1).std(1) / (given - was[:, None]).flatten(1).std(1)
    saturation = colors / contrast
    assert 0 <= saturation.min() < 0.02
    assert 1.98 < saturation.max() <= 2.001


def test_every_image_is_changed_in_its_own_way() -> None:
    same = images(1).expand(8, -1, -1, -1)
    made = DiffAugment(EVERY, draws())(same)
    assert len({tuple(image.flatten().tolist()) for image in made}) == 8


def test_without_a_policy_nothing_happens() -> None:
    source = draws()
    before = source.get_state()
    given = images()
    assert DiffAugment("", source)(given) is given
    assert torch.equal(source.get_state(), before)


def test_the_same_draws_give_the_same_changes() -> None:
    one, two, other = (DiffAugment(EVERY, draws(seed))(images()) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_gradients_flow_back_to_the_pixels_they_come_from() -> None:
    given = images(2).requires_grad_()
    made = DiffAugment("translation,cutout", draws())(given)
    (slope,) = torch.autograd.grad(made.sum(), given)
    left = DiffAugment("translation,cutout", draws())(torch.ones(2, 3, 6, 8))
    assert set(slope.flatten().tolist()) == {0.0, 1.0}
    assert slope.sum() == left.sum()
    small = images(1, 2, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: DiffAugment(EVERY, draws(4))(x), (small,))


def test_what_is_no_number_and_cut_away_is_gone() -> None:
    broken = torch.full((1, 1, 2, 2), float("nan"))
    assert not holed(broken, torch.tensor([0]), torch.tensor([0]), 2, 2).isnan().any()
    assert not shifted(broken, torch.tensor([2]), torch.tensor([0])).isnan().any()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("colour", "did you mean 'color'"),
        ("color,color", "named twice"),
        ("color,", "unknown augmentation ''"),
    ],
)
def test_policies_that_do_not_exist_are_refused(policy: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        known_policy(policy)
    with pytest.raises(ValueError, match=message):
        DiffAugment(policy, draws())
