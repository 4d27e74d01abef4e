"""Styles: kernels of one's own, checked one by one; noise that can be had again."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from asepsis.core.layout import Layout
from asepsis.core.rng import building_modules
from asepsis.models.style_gan import StyleGenerator
from asepsis.models.style_layers import Styled, doubled, modulated


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(size: int = 16, classes: int = 0, seed: int = 0) -> StyleGenerator:
    with building_modules(seed):
        return StyleGenerator((1, size, size), classes, width=8, w_dim=16, layers=2)


def noisy(generator: StyleGenerator, strength: float) -> StyleGenerator:
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("strength"):
                parameter.fill_(strength)
    return generator


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_every_sample_is_convolved_with_its_own_kernel(kernel: int, demodulate: bool) -> None:
    maps, weight, styles = drawn(4, 3, 5, 6), drawn(2, 3, kernel, kernel), drawn(4, 3, seed=1)
    fast = modulated(maps, weight, styles, demodulate=demodulate)
    for i in range(4):
        own = torch.empty_like(weight)
        for o in range(2):
            for c in range(3):
                own[o, c] = weight[o, c] * styles[i, c]
            if demodulate:
                own[o] /= own[o].square().sum().sqrt()
        slow = F.conv2d(maps[i : i + 1], own, padding=kernel // 2)
        assert torch.allclose(fast[i : i + 1], slow, atol=1e-5)


def test_demodulated_maps_keep_their_size_whatever_the_style() -> None:
    maps, weight, styles = drawn(8, 16, 12, 12), drawn(4, 16, 3, 3), 9 * drawn(8, 16, seed=1)
    made = modulated(maps, weight, styles)
    assert made[..., 1:-1, 1:-1].std().item() == pytest.approx(1, abs=0.1)
    assert torch.allclose(made, modulated(maps, weight, 2 * styles), atol=1e-5)
    plain = modulated(maps, weight, styles, demodulate=False)
    assert plain.std() > 20


def test_a_styled_layer_keeps_the_second_moment_of_its_maps() -> None:
    """LeakyReLU halves that of normal maps, or nearly, and the gain makes up for the half."""
    with building_modules(0):
        layer = Styled(32, 32, w_dim=8, z_dim=4, at=(16, 16), layer=0)
    made = layer(drawn(8, 32, 16, 16), drawn(8, 8, seed=1), drawn(8, 4, seed=2))
    within = made[..., 1:-1, 1:-1].square().mean().item()
    assert within == pytest.approx(2 * (1 + 0.2**2) / 2, rel=0.05)


def test_negative_values_leak_as_published() -> None:
    with building_modules(0):
        layer = Styled(4, 4, w_dim=8, z_dim=4, at=(6, 6), layer=0)
    maps, w, z = drawn(2, 4, 6, 6), drawn(2, 8, seed=1), drawn(2, 4, seed=2)
    plain = layer.convolution(maps, w)
    assert torch.allclose(layer(maps, w, z), 2**0.5 * torch.where(plain > 0, plain, 0.2 * plain))


def test_layers_of_one_size_have_different_noise() -> None:
    first, second = (made().styled[at].get_submodule("noise") for at in (3, 4))
    signs = first.get_buffer("signs"), second.get_buffer("signs")
    assert signs[0].shape == signs[1].shape
    assert (signs[0] == signs[1]).float().mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("width", "wanted"),
    [
        (64, [64, 64, 64, 64, 64, 64, 32]),
        (256, [256, 256, 256, 256, 128, 64, 32]),
        (4, [4] * 7),
    ],
)
def test_width_lasts_up_to_large_maps(width: int, wanted: list[int]) -> None:
    with torch.device("meta"):
        generator = StyleGenerator((1, 256, 256), width=width, w_dim=8, layers=1)
    assert [color.get_parameter("weight").shape[1] for color in generator.colors] == wanted
    pairs = [
        layer.get_submodule("convolution").get_parameter("weight") for layer in generator.styled
    ]
    assert [tuple(weight.shape[:2]) for weight in pairs] == [
        (width, width),
        *(
            shape
            for before, after in pairwise(wanted)
            for shape in ((after, before), (after, after))
        ),
    ]


def test_doubling_is_the_published_filter_away_from_the_edges() -> None:
    maps = drawn(2, 1, 6, 6)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    filtered = F.conv_transpose2d(maps, torch.outer(taps, taps)[None, None], stride=2, padding=1)
    assert torch.allclose(doubled(maps)[..., 1:-1, 1:-1], filtered[..., 1:-1, 1:-1], atol=1e-6)


def test_the_same_image_can_be_made_again() -> None:
    generator = noisy(made(), 1.0)
    z = drawn(2, 64)
    assert torch.equal(generator(z), generator(z))


def test_noise_is_standard_normal_at_every_pixel_and_differs_between_images() -> None:
    layer = noisy(made(), 1.0).styled[2].get_submodule("noise")
    noise = layer(torch.zeros(4000, 1, 8, 8), drawn(4000, 64))[:, 0]
    assert noise.mean(0).abs().max() < 0.1
    assert torch.allclose(noise.std(0), torch.ones(8, 8), atol=0.1)
    assert noise.pow(4).mean().item() == pytest.approx(3, abs=0.3)
    assert (noise[0] - noise[1]).abs().max() > 0.5
    neighbors = torch.corrcoef(noise.flatten(1).T) - torch.eye(64)
    assert neighbors.square().mean().sqrt().item() == pytest.approx(64**-0.5, rel=0.2)


def test_noise_starts_silent_and_is_the_same_for_all_seeds() -> None:
    quiet, loud, other = made(), noisy(made(), 1.0), noisy(made(seed=1), 1.0)
    assert not torch.allclose(quiet(drawn(1, 64)), loud(drawn(1, 64)), atol=1e-2)
    layout = Layout.of(loud)
    layout.load(other, layout.flatten(loud))
    assert torch.equal(loud(drawn(1, 64)), other(drawn(1, 64)))


def test_only_the_direction_of_z_makes_the_style() -> None:
    generator, z = made(), drawn(1, 64)
    assert torch.allclose(generator(z), generator(3 * z), atol=1e-4)


def test_row_holds_parameters_alone() -> None:
    generator = made(classes=2)
    layout = Layout.of(generator)
    assert layout.dim == sum(parameter.numel() for parameter in generator.parameters())


@pytest.mark.parametrize("extents", [(16, 16), (28, 28), (40, 17)])
def test_sizes_need_not_be_powers_of_two(extents: tuple[int, int]) -> None:
    with building_modules(0):
        generator = StyleGenerator((2, *extents), width=8, w_dim=8, layers=1)
    assert generator(drawn(2, 64)).shape == (2, 2, *extents)
