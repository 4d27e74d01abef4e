"""GAN losses by hand, and a game that must move the generated images towards the real ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asepsis.core.rng import building_modules
from asepsis.models.generators import Generator
from asepsis.training.gan import Adversarial, Game, alternate, any_class
from asepsis.training.gan_losses import (
    class_means,
    classifying_critic_loss,
    critic_loss,
    escape_loss,
    generator_loss,
    mean_matching_loss,
    mode_seeking_loss,
)

REAL, FAKE = torch.tensor([0.0, 2.0]), torch.tensor([-0.5, 1.0])


def test_losses_of_a_plain_critic() -> None:
    bce = (math.log(2) + math.log1p(math.exp(-2))) / 2
    bce += (math.log1p(math.exp(-0.5)) + math.log1p(math.e)) / 2
    assert critic_loss("bce", REAL, FAKE).item() == pytest.approx(bce)
    assert critic_loss("hinge", REAL, FAKE).item() == pytest.approx(0.5 + (0.5 + 2.0) / 2)
    lured = (math.log1p(math.exp(0.5)) + math.log1p(math.exp(-1))) / 2
    assert generator_loss("bce", FAKE).item() == pytest.approx(lured)
    assert generator_loss("hinge", FAKE).item() == pytest.approx(-0.25)


def test_losses_of_a_critic_that_classifies() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))
    real = classifying_critic_loss(logits, torch.tensor([1]), logits)
    assert real.item() == pytest.approx(-math.log(0.3) - math.log(0.2))
    assert escape_loss(logits).item() == pytest.approx(-math.log(0.8))
    assert escape_loss(torch.tensor([[-200.0, -200.0, 0.0]])).item() == pytest.approx(
        200 - math.log(2)
    )


def test_mode_seeking_wants_images_as_far_apart_as_their_noise() -> None:
    z = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 3.0], [1.0, 1.0]])
    images = torch.tensor([[0.0], [0.0], [1.0], [2.0]]).view(4, 1, 1, 1)
    assert mode_seeking_loss(images, z).item() == pytest.approx(1 / ((1 / 2 + 2 / 1) / 2 + 0.01))
    assert mode_seeking_loss(images * 0, z).item() == pytest.approx(100)


def test_mean_matching_compares_the_classes_that_both_sides_have() -> None:
    real = torch.tensor([[1.0, 1.0], [3.0, 5.0], [9.0, 9.0]])
    means, counts = class_means(real, torch.tensor([0, 0, 2]), 4)
    assert means.tolist() == [[2, 3], [0, 0], [9, 9], [0, 0]]
    assert counts.tolist() == [2, 0, 1, 0]
    fake = torch.tensor([[4.0, 3.0], [50.0, 50.0]])
    spread = torch.tensor([2.0, 1.0])
    loss = mean_matching_loss(fake, torch.tensor([0, 1]), means, counts, spread)
    assert loss.item() == pytest.approx(((4 - 2) / 2) ** 2 / 2)
    assert mean_matching_loss(fake, torch.tensor([1, 3]), means, counts, spread).item() == 0


def players(classes: int = 0) -> tuple[Generator, nn.Module]:
    with building_modules(3):
        generator = Generator((1, 8, 8), classes, z_dim=8, width=16)
        critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    return generator, critic


def play(game: Game, steps: int) -> tuple[Generator, dict[str, float]]:
    generator, critic = players()
    draws = torch.Generator().manual_seed(0)
    real = torch.full((16, 1, 8, 8), -0.8)
    real[:, :, :, 4:] = 0.8
    batches = [(real, torch.zeros(16, dtype=torch.int64))] * steps
    losses = alternate(generator, critic, game, batches, any_class(generator, draws), lr=5e-3)
    return generator, losses


def picture(generator: Generator) -> Tensor:
    with torch.no_grad():
        images: Tensor = generator(generator.noise(32, torch.Generator().manual_seed(9)))
    return images.mean(0)[0]


@pytest.mark.parametrize("kind", ["bce", "hinge"])
def test_generated_images_come_to_look_like_real_ones(kind: Any) -> None:
    generator, losses = play(Adversarial(kind=kind), 60)
    left, right = picture(generator)[:, :4].mean(), picture(generator)[:, 4:].mean()
    untrained = picture(players()[0])
    assert (untrained[:, 4:].mean() - untrained[:, :4].mean()).abs() < 0.2
    assert right - left > 0.8
    assert losses.keys() == {"critic", "generator"}


def test_the_same_draws_give_the_same_generator() -> None:
    one, two = (picture(play(Adversarial(), 3)[0]) for _ in range(2))
    assert torch.equal(one, two)


def test_without_a_batch_nothing_happens() -> None:
    generator, losses = play(Adversarial(), 0)
    assert losses == {}
    assert torch.equal(picture(generator), picture(players()[0]))


def test_classes_are_asked_for_in_equal_shares() -> None:
    ask = any_class(players(3)[0], torch.Generator().manual_seed(0))
    _, labels = ask(24, torch.zeros(24, dtype=torch.int64))
    assert labels is not None
    assert torch.bincount(labels).tolist() == [8, 8, 8]
    assert any_class(players()[0], torch.Generator())(5, torch.zeros(5))[1] is None
