"""Generators make the images asked for, and a classifier becomes a critic that still classifies."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.models.generators import Generator, tapered, with_fake_class


def made(image: tuple[int, ...], classes: int = 0) -> Generator:
    with building_modules(0):
        return Generator(image, classes)


@pytest.mark.parametrize("image", [(1, 28, 28), (3, 28, 28), (3, 64, 64), (1, 30, 17), (2, 4, 3)])
@pytest.mark.parametrize("classes", [0, 3])
def test_images_have_the_shape_and_range_asked_for(image: tuple[int, ...], classes: int) -> None:
    generator = made(image, classes)
    labels = torch.arange(5) % classes if classes else None
    images = generator(generator.noise(5, torch.Generator().manual_seed(1)), labels)
    assert images.shape == (5, *image)
    assert images.abs().max() <= 1


def test_small_enough_for_a_laptop() -> None:
    assert sum(p.numel() for p in made((3, 28, 28), 7).parameters()) <= 300_000


def test_noise_and_class_both_decide() -> None:
    generator = made((1, 28, 28), 2)
    z = generator.noise(2, torch.Generator().manual_seed(1))
    same_z = generator(z[:1].expand(2, -1), torch.tensor([0, 1]))
    same_class = generator(z, torch.tensor([0, 0]))
    assert not torch.allclose(same_z[0], same_z[1], atol=1e-3)
    assert not torch.allclose(same_class[0], same_class[1], atol=1e-3)


def test_a_sample_does_not_depend_on_the_others_in_its_batch() -> None:
    generator = made((1, 28, 28))
    z = generator.noise(6, torch.Generator().manual_seed(1))
    assert torch.allclose(generator(z)[:2], generator(z[:2]), atol=1e-5)


@pytest.mark.parametrize("image", [(28, 28), (1, 0, 28)])
def test_refuses_what_is_no_image(image: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="images"):
        Generator(image)


def test_labels_go_with_a_conditional_generator_only() -> None:
    with pytest.raises(ConfigError, match="missing"):
        made((1, 8, 8), 2)(torch.zeros(1, 64))
    with pytest.raises(ConfigError, match="given"):
        made((1, 8, 8))(torch.zeros(1, 64), torch.tensor([0]))


@pytest.mark.parametrize("name", ["small-cnn", "lenet", "mlp", "logistic"])
def test_the_critic_keeps_what_the_classifier_knew(name: str) -> None:
    with building_modules(0):
        classifier = build("model", name).build((1, 28, 28), 4)
    before = [parameter.clone() for parameter in classifier.parameters()]
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    critic = with_fake_class(classifier)
    known, wider = classifier(images), critic(images)
    assert torch.allclose(wider[:, :4], known, atol=1e-6)
    assert torch.allclose(wider[:, 4], known.mean(1), atol=1e-5)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, classifier.parameters(), strict=True))


def test_a_critic_needs_a_linear_head() -> None:
    with pytest.raises(ConfigError, match="ends in a linear layer"):
        with_fake_class(nn.Sequential(nn.ReLU(), nn.Flatten()))


def test_a_model_that_is_its_head_gets_a_wider_one() -> None:
    with building_modules(0):
        head = nn.Linear(4, 2, bias=False)
    wider = with_fake_class(head)
    assert wider(torch.zeros(1, 4)).tolist() == [[0.0, 0.0, 0.0]]


def test_channels_never_grow_on_the_way() -> None:
    assert tapered(4, 3) == [4, 4, 4, 4]
    assert tapered(8, 3) == [8, 8, 8, 8]
    assert tapered(12, 3) == [12, 12, 8, 8]
    assert tapered(64, 5) == [64, 64, 32, 16, 8, 8]
