"""Losses of Wasserstein critics and of critics that know classes, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.rng import building_modules
from asepsis.training.gan_losses import critic_loss, generator_loss, judged
from asepsis.training.gradient_penalty import gradient_penalty


def linear(*weight: float) -> nn.Module:
    """Return a critic of 1×2 images whose gradient is ``weight`` everywhere."""
    with building_modules(0), torch.no_grad():
        layer = nn.Linear(len(weight), 1)
        layer.weight.copy_(torch.tensor([weight]))
    return nn.Sequential(nn.Flatten(), layer)


class Squares(nn.Module):
    """Half the squared pixels; the second class counts twice: slopes are ``x`` and ``2 x``."""

    def forward(self, images: Tensor) -> Tensor:
        half = images.flatten(1).square().sum(1) / 2
        return torch.stack([half, 2 * half], dim=1)


def images(n: int, seed: int) -> Tensor:
    return torch.randn(n, 1, 1, 2, generator=torch.Generator().manual_seed(seed))


def test_a_critic_is_asked_about_the_class_that_an_image_is_shown_as() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert judged(logits, torch.tensor([2, 0])).tolist() == [3, 4]
    assert judged(logits[:, :1], None).tolist() == [1, 4]
    assert judged(logits[:, :1], torch.tensor([2, 0])).tolist() == [1, 4]


def test_losses_are_computed_in_float32_at_least() -> None:
    assert judged(torch.zeros(1, 1, dtype=torch.bfloat16), None).dtype == torch.float32
    assert judged(torch.zeros(1, 1, dtype=torch.float64), None).dtype == torch.float64


def test_a_critic_with_classes_must_be_told_one() -> None:
    with pytest.raises(ConfigError, match="one of a class"):
        judged(torch.zeros(2, 3), None)


def test_losses_of_a_wasserstein_critic() -> None:
    real, fake = torch.tensor([1.0, 4.0]), torch.tensor([-1.0, 0.0, 7.0])
    assert critic_loss("wgan-gp", real, fake).item() == pytest.approx(2 - 2.5)
    assert generator_loss("wgan-gp", fake).item() == pytest.approx(-2)


@pytest.mark.parametrize(("weight", "expected"), [((3, 4), 16), ((0.6, 0.8), 0), ((0, 0), 1)])
def test_a_linear_critic_has_the_same_slope_everywhere(
    weight: tuple[float, ...], expected: float
) -> None:
    found = gradient_penalty(linear(*weight), images(5, 0), images(5, 1), None, torch.Generator())
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_the_penalty_pulls_weights_towards_slope_one() -> None:
    critic = linear(3, 4)
    found = gradient_penalty(critic, images(5, 0), images(5, 1), None, torch.Generator())
    weight, bias = critic.parameters()
    slope, nothing = torch.autograd.grad(found, [weight, bias], allow_unused=True)
    # d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|
    assert slope.tolist()[0] == pytest.approx([2 * 4 * 3 / 5, 2 * 4 * 4 / 5])
    assert nothing is None or not nothing.any()


def test_a_critic_without_any_slope_gets_no_infinite_gradient() -> None:
    critic = linear(0, 0)
    found = gradient_penalty(critic, images(5, 0), images(5, 1), None, torch.Generator())
    (slope,) = torch.autograd.grad(found, [next(critic.parameters())])
    assert slope.isfinite().all()


def test_points_lie_between_a_real_and_a_fake_image_one_share_a_sample() -> None:
    real, fake, labels = images(6, 0), images(7, 1), torch.tensor([0, 1, 0, 1, 1, 0])
    found = gradient_penalty(Squares(), real, fake, labels, torch.Generator().manual_seed(3))
    shares = torch.rand(6, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    by_hand = []
    for i in range(6):
        point = shares[i] * real[i] + (1 - shares[i]) * fake[i]
        slope = point.norm() * (1 + labels[i])
        by_hand.append((slope - 1) ** 2)
    assert found.item() == pytest.approx(torch.stack(by_hand).mean().item(), rel=1e-5)


def test_the_interpolation_is_uniform() -> None:
    n = 20_000
    real, fake = torch.ones(n, 1, 1, 1), torch.zeros(n, 1, 1, 1)
    labels, draws = torch.zeros(n, dtype=torch.int64), torch.Generator().manual_seed(0)
    # The slope is the share e itself, and E (e - 1)^2 = 1/3 for a uniform e.
    found = gradient_penalty(Squares(), real, fake, labels, draws)
    assert found.item() == pytest.approx(1 / 3, abs=0.01)
