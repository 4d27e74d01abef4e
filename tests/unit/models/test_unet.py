"""The U-Net: any size, a wide view, what travels with it, what attacks and engines ask of it."""

from __future__ import annotations

from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.rng import building_modules
from asepsis.models.unet import UNet

Norm = Literal["group", "batch", "none"]


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def network(norm: Norm = "group", depth: int = 2) -> nn.Module:
    with building_modules(0):
        return UNet(channels=4, depth=depth, norm=norm).build((1, 16, 16), 0)


def test_an_image_in_range_comes_from_any_size() -> None:
    images = 5 * noise(2, 1, 13, 6)
    made = network()(images)
    assert made.shape == images.shape
    assert made.abs().max() <= 1.72
    assert network(depth=6)(torch.zeros(1, 1, 3, 3)).shape == (1, 1, 3, 3)


def test_it_sees_far_beyond_its_kernels() -> None:
    image = torch.full((1, 1, 32, 32), 0.1, requires_grad=True)
    network("none", depth=3)(image)[0, 0, 16, 16].backward()
    assert image.grad is not None
    rows = image.grad[0, 0].abs().sum(dim=1).nonzero().flatten()
    assert rows.max() - rows.min() >= 24


def test_the_norm_decides_what_travels() -> None:
    floats = {
        norm: sum(buffer.is_floating_point() for buffer in network(norm).buffers())
        for norm in ("group", "batch", "none")
    }
    assert floats == {"group": 0, "batch": 20, "none": 0}
    images = noise(3, 1, 16, 16)
    alone: dict[Norm, bool] = {"group": True, "none": True, "batch": False}
    for norm, expected in alone.items():
        net = network(norm)
        assert torch.allclose(net(images[:1]), net(images)[:1], atol=1e-6) is expected


def test_gradients_have_gradients_and_rows_can_be_stacked() -> None:
    net, image = network(), noise(1, 1, 16, 16).requires_grad_()
    loss = net(image).abs().mean()
    parts = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
    total = torch.stack([part.square().sum() for part in parts]).sum()
    (twice,) = torch.autograd.grad(total, image)
    assert twice.isfinite().all()
    assert twice.any()
    named = {name: weight.detach() for name, weight in net.named_parameters()}
    stacked = {name: torch.stack([weight, weight / 2]) for name, weight in named.items()}
    call = partial(torch.func.functional_call, net)
    many = torch.func.vmap(lambda own: call(own, (image,)))(stacked)
    assert torch.allclose(many[0], net(image), atol=1e-6)
    assert not torch.allclose(many[1], net(image), atol=1e-3)


def test_color_is_refused() -> None:
    with pytest.raises(ConfigError, match="gray"):
        UNet().build((3, 16, 16), 0)
