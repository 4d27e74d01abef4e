"""What every network must do, on the smallest and on an odd sample it promises to take."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asepsis.core.layout import Layout
from asepsis.core.registry import build, entries
from asepsis.core.rng import building_modules
from asepsis.models.gan import Gan

SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "small-cnn": ((1, 8, 8), (3, 28, 31), (1, 8, 9, 28)),
    "lenet": ((1, 16, 16), (3, 28, 31)),
    "lenet-sigmoid": ((1, 8, 8), (3, 28, 31)),
    "mlp": ((30,), (1, 8, 8), (2, 50)),
    "logistic": ((1,), (1, 8, 8), (2, 50)),
    "cnn1d": ((1, 16), (12, 187)),
    "imprinted": ((30,), (1, 8, 8), (2, 50)),
    "densenet121": ((1, 32, 32),),
    "resnet18": ((1, 32, 32), (1, 32, 32, 32)),
    "unet": ((1, 3, 2), (1, 28, 31)),
    "dcgan": ((1, 8, 8), (3, 28, 31)),
    "style-gan": ((1, 8, 8), (3, 28, 31)),
}
IMAGES = {"unet"}
"""These make an image as large as the one they take."""
MEDICAL = {"densenet121", "resnet18"}
CASES = [
    pytest.param(
        name,
        shape,
        id=f"{name}-{'x'.join(map(str, shape))}",
        marks=pytest.mark.skipif(
            name in MEDICAL and find_spec("monai") is None, reason="needs the extra medical"
        ),
    )
    for name, shapes in SHAPES.items()
    for shape in shapes
]


def built(name: str, shape: tuple[int, ...], classes: int = 3) -> nn.Module:
    builder: Any = build("model", name)
    with building_modules(0):
        module: nn.Module = builder.build(shape, classes)
    return module


def batch(shape: tuple[int, ...], n: int = 2) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


def test_every_model_is_on_the_list() -> None:
    built_in = {entry.name for entry in entries("model") if entry.module.startswith("asepsis.")}
    assert built_in - {"module"} <= SHAPES.keys()  # which is whatever the user brings


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_forward_and_backward(name: str, shape: tuple[int, ...]) -> None:
    module = built(name, shape).train()
    outputs = module(batch(shape))
    assert outputs.shape == ((2, *shape) if name in IMAGES else (2, 3))
    assert outputs.dtype is torch.float32
    torch.nn.functional.cross_entropy(outputs.flatten(1), torch.tensor([0, 0])).backward()  # type: ignore[no-untyped-call]
    asked = module.critic if isinstance(module, Gan) else module
    gradients = [parameter.grad for parameter in asked.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient is not None and gradient.any() for gradient in gradients)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_evaluation_repeats_and_leaves_the_global_generator_alone(
    name: str, shape: tuple[int, ...]
) -> None:
    module = built(name, shape)
    before = torch.random.get_rng_state()
    module.train()(batch(shape))
    module.eval()
    with torch.no_grad():
        assert torch.equal(module(batch(shape)), module(batch(shape)))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_the_same_seed_builds_the_same_row(name: str, shape: tuple[int, ...]) -> None:
    one, two = built(name, shape), built(name, shape)
    layout = Layout.of(one)
    assert torch.equal(layout.flatten(one), layout.flatten(two))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_nothing_works_in_place(name: str, shape: tuple[int, ...]) -> None:
    module = built(name, shape)
    assert not any(getattr(part, "inplace", False) for part in module.modules())


@pytest.mark.parametrize("name", ["small-cnn", "lenet", "lenet-sigmoid", "dcgan"])
def test_memory_format_does_not_change_the_outputs(name: str) -> None:
    module, inputs = built(name, (3, 28, 28)).eval(), batch((3, 28, 28))
    plain = module(inputs)
    last = module.to(memory_format=torch.channels_last)(  # type: ignore[call-overload]
        inputs.contiguous(memory_format=torch.channels_last)
    )
    assert torch.allclose(plain, last, atol=1e-5)
