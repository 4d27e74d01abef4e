"""Both GANs: images of any size, classes or none, and which parts travel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asepsis.core.contracts import PartlyLocal
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.markers import generates
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.models.gan import Gan
from asepsis.models.generators import Generator

NAMES = ("dcgan", "style-gan")
SMALL = {"width": 8, "critic_width": 4}
every = pytest.mark.parametrize("name", NAMES)


def builder(name: str, **options: Any) -> Any:
    return build("model", {"name": name, **SMALL, **options})


def made(name: str, image: tuple[int, ...], seed: int = 0, **options: Any) -> Gan:
    with building_modules(seed):
        gan: Gan = builder(name, **options).build(image, 3)
    return gan


def noise(gan: Gan, n: int) -> Tensor:
    return gan.generator.noise(n, torch.Generator().manual_seed(1))


@every
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 32, 64, 256])
@pytest.mark.parametrize("conditional", [True, False])
def test_images_and_judgements_of_every_size(
    name: str, channels: int, size: int, conditional: bool
) -> None:
    gan = made(name, (channels, size, size), conditional=conditional)
    images = gan.generator(noise(gan, 2), torch.tensor([0, 2]) if conditional else None)
    assert images.shape == (2, channels, size, size)
    assert images.dtype is torch.float32
    assert images.abs().max() <= 1
    assert images.std() > 0.01
    assert gan(images).shape == (2, 3 if conditional else 1)


@every
def test_noise_and_class_both_decide(name: str) -> None:
    gan = made(name, (1, 16, 16))
    z = noise(gan, 2)
    same_z = gan.generator(z[:1].expand(2, -1), torch.tensor([0, 1]))
    same_class = gan.generator(z, torch.tensor([0, 0]))
    assert not torch.allclose(same_z[0], same_z[1], atol=1e-3)
    assert not torch.allclose(same_class[0], same_class[1], atol=1e-3)


@every
def test_an_image_does_not_depend_on_the_others_of_its_batch(name: str) -> None:
    gan, labels = made(name, (1, 16, 16)), torch.tensor([0, 1, 2])
    z = noise(gan, 3)
    together = gan.generator(z, labels)
    assert torch.allclose(together[:1], gan.generator(z[:1], labels[:1]), atol=1e-5)


@every
def test_the_module_answers_as_its_critic(name: str) -> None:
    gan = made(name, (1, 16, 16)).eval()
    images = gan.generator(noise(gan, 2), torch.tensor([0, 1]))
    assert torch.equal(gan(images), gan.critic(images))


@every
def test_seeds_decide_the_weights(name: str) -> None:
    first, again, other = (made(name, (1, 16, 16), seed) for seed in (0, 0, 1))
    layout = Layout.of(first)
    assert torch.equal(layout.flatten(first), layout.flatten(again))
    assert not torch.equal(layout.flatten(first), layout.flatten(other))


@every
def test_the_critic_alone_stays_home(name: str) -> None:
    gan, part = made(name, (1, 16, 16)), builder(name)
    assert isinstance(part, PartlyLocal)
    layout = Layout.of(gan, part.local)
    assert {slot.name for slot in layout.slots} == {
        f"generator.{name}" for name, _ in gan.generator.named_parameters()
    }
    assert set(layout.local) == {f"critic.{name}" for name in gan.critic.state_dict()}


@every
def test_both_travel_when_asked(name: str) -> None:
    gan, part = made(name, (1, 16, 16)), builder(name, travels="both")
    layout = Layout.of(gan, part.local)
    assert layout.local == ()
    running = {slot.name for slot in layout.slots if not slot.parameter}
    assert running
    assert all(".running_" in name and name.startswith("critic.") for name in running)


@every
def test_every_part_learns_and_all_floats_are_single(name: str) -> None:
    gan = made(name, (3, 16, 16))
    gan(gan.generator(noise(gan, 4), torch.tensor([0, 1, 2, 0])))[:, 1].mean().backward()
    for parameter in gan.parameters():
        assert parameter.dtype is torch.float32
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    # A critic's biases may cancel in batch norm; no tensor of a generator may stand still.
    assert all(p.grad is not None and p.grad.any() for p in gan.generator.parameters())
    floats = [buffer for buffer in gan.buffers() if buffer.is_floating_point()]
    assert all(buffer.dtype is torch.float32 for buffer in floats)


@every
def test_options_reach_the_networks(name: str) -> None:
    gan = made(name, (1, 32, 32), z_dim=5, width=24, critic_width=6, norm="instance")
    assert noise(gan, 2).shape == (2, 5)
    norms = [part for part in gan.critic.modules() if isinstance(part, nn.InstanceNorm2d)]
    assert [norm.num_features for norm in norms] == [12]  # the last convolution has none
    assert any(parameter.shape[0] == 24 for parameter in gan.generator.parameters())


@every
@pytest.mark.parametrize("shape", [(30,), (12, 187), (1, 16, 16, 16), (1, 7, 16)])
def test_what_is_no_image_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"sample is too small|cannot take this sample"):
        builder(name).build(shape, 2)


@every
def test_labels_go_with_a_conditional_generator_only(name: str) -> None:
    with pytest.raises(ConfigError, match="missing"):
        made(name, (1, 8, 8)).generator(torch.zeros(1, 64))
    with pytest.raises(ConfigError, match="given"):
        made(name, (1, 8, 8), conditional=False).generator(torch.zeros(1, 64), torch.tensor([0]))


@every
def test_generators_are_told_apart_from_classifiers(name: str) -> None:
    assert generates(builder(name))
    assert not generates(build("model", "small-cnn"))


def test_dcgan_has_the_generator_that_attacks_use() -> None:
    with building_modules(0):
        alone = Generator((1, 28, 28), classes=3, width=16)
    gan = made("dcgan", (1, 28, 28), width=16)
    z, labels = noise(gan, 2), torch.tensor([0, 2])
    assert torch.equal(gan.generator(z, labels), alone(z, labels))
