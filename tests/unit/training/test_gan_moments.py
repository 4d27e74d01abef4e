"""Optimizers that remember, beside PyTorch's own, kept alive."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asepsis.core.rng import building_modules
from asepsis.core.updates import State
from asepsis.training.moments import FusedAdam, Remembering, RmsProp

KINDS = ["adam", "rmsprop"]


def player() -> nn.Module:
    with building_modules(1):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))


def gradients(step: int) -> list[Tensor]:
    draws = torch.Generator().manual_seed(step)
    return [torch.randn(p.shape, generator=draws) for p in player().parameters()]


def ours(kind: str, module: nn.Module, home: State) -> Remembering:
    if kind == "adam":
        return FusedAdam(module, "one", home, lr=0.01, betas=(0.5, 0.999))
    return RmsProp(module, "one", home, lr=0.01)


def theirs(kind: str, module: nn.Module) -> torch.optim.Optimizer:
    if kind == "adam":
        return torch.optim.Adam(module.parameters(), lr=0.01, betas=(0.5, 0.999))
    return torch.optim.RMSprop(module.parameters(), lr=0.01)


def weights(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [None, 1])
def test_steps_are_those_of_pytorch(kind: str, missing: int | None) -> None:
    one, two = player(), player()
    known = theirs(kind, two)
    home: State = {}
    for step in range(6):
        given: list[Any] = gradients(step)
        if missing is not None and step % 2:
            given[missing] = None
        remembering = ours(kind, one, home)
        remembering.step(given)
        home = remembering.state()
        for weight, gradient in zip(two.parameters(), given, strict=True):
            weight.grad = gradient
        known.step()
    for mine, other in zip(weights(one), weights(two), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_moments_taken_home_and_back_change_nothing(kind: str) -> None:
    once, twice = player(), player()
    kept = ours(kind, once, {})
    for step in range(6):
        kept.step(gradients(step))
    first = ours(kind, twice, {})
    for step in range(3):
        first.step(gradients(step))
    home = {name: part.clone() for name, part in first.state().items()}
    second = ours(kind, twice, home)
    for step in range(3, 6):
        second.step(gradients(step))
    assert all(map(torch.equal, weights(once), weights(twice)))
    assert all(torch.equal(kept.state()[name], part) for name, part in second.state().items())
    # What was kept stays what it was.
    assert all(torch.equal(home[name], part) for name, part in first.state().items())


def test_moments_have_the_names_of_their_weights() -> None:
    names = ours("adam", player(), {}).state().keys()
    assert {n for n in names if n.startswith("one/0.weight/")} == {
        "one/0.weight/m",
        "one/0.weight/v",
        "one/0.weight/t",
    }
    assert ours("rmsprop", player(), {}).state().keys() == {
        f"one/{name}/v" for name, _ in player().named_parameters()
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", [False, True], ids=["weights plain", "weights channels-last"])
def test_the_layout_of_tensors_in_memory_changes_nothing(kind: str, network: bool) -> None:
    plain, module = player(), player()
    if network:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept = ours(kind, plain, {})
    home: State = {}
    for step in range(3):
        kept.step(gradients(step))
        again = ours(kind, module, home)
        other = torch.contiguous_format if network else torch.channels_last
        again.step(
            [g.contiguous(memory_format=other) if g.dim() == 4 else g for g in gradients(step)]
        )
        home = {name: part.contiguous() for name, part in again.state().items()}
    assert all(map(torch.allclose, weights(plain), weights(module)))
