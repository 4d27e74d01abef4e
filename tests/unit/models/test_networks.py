"""What is particular to single networks: sizes, refusals, options."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.models.building import halved


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def make(spec: str | dict[str, Any], shape: tuple[int, ...], classes: int = 2) -> nn.Module:
    with building_modules(0):
        module: nn.Module = build("model", spec).build(shape, classes)
    return module


def test_parameter_counts_by_hand() -> None:
    convolutions = (9 + 1) * 16 + (9 * 16 + 1) * 32 + (9 * 32 + 1) * 64
    assert size(make("small-cnn", (1, 28, 28))) == convolutions + (64 * 16 + 1) * 2
    assert size(make({"name": "mlp", "hidden": [4, 3]}, (5,))) == 6 * 4 + 5 * 3 + 4 * 2
    assert size(make({"name": "mlp", "hidden": []}, (5,))) == 6 * 2


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("small-cnn", (1, 7, 28), "too small"),
        ("small-cnn", (30,), "axes"),
        ("lenet", (1, 15, 28), "too small"),
        ("lenet", (1, 16, 16, 16), "axes"),
        ("lenet-sigmoid", (1, 28, 7), "too small"),
        ("cnn1d", (1, 15), "too small"),
        ("cnn1d", (1, 28, 28), "axes"),
        ("densenet121", (1, 28, 28), "at least 32"),
        ("resnet18", (1, 28, 28), "at least 32"),
    ],
)
def test_refuses_what_it_cannot_take(name: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(name, shape)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "mlp", "hidden": [0]},
        {"name": "mlp", "hidden": ["8"]},
        {"name": "mlp", "width": 3},
        {"name": "small-cnn", "widths": [8, 16]},
        {"name": "lenet-sigmoid", "spread": 0.0},
    ],
)
def test_refuses_options_out_of_range(spec: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=spec["name"]):
        build("model", spec)


@pytest.mark.parametrize("name", ["densenet121", "resnet18"])
def test_a_missing_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("densenet", "resnet"):
        monkeypatch.setitem(sys.modules, f"monai.networks.nets.{module}", None)
    with pytest.raises(MissingExtraError, match="medical"):
        make(name, (1, 32, 32))


def test_sigmoid_lenet_starts_wide() -> None:
    module = make({"name": "lenet-sigmoid", "spread": 0.25}, (1, 28, 28))
    values = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    assert values.abs().max() <= 0.25
    assert values.std().item() == pytest.approx(0.5 / 12**0.5, rel=0.02)


@pytest.mark.parametrize("extent", [8, 15, 28, 31])
def test_halved_is_what_a_strided_convolution_leaves(extent: int) -> None:
    with building_modules(0):
        convolution = nn.Conv2d(1, 1, 5, stride=2, padding=2)
    once = convolution(torch.zeros(1, 1, extent, extent)).shape[-1]
    assert halved(extent, 1) == once
