"""The learner's gradient is autograd's own, twice differentiable and without side effects."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asepsis.core.layout import Layout
from asepsis.core.rng import building_modules
from asepsis.models.lenet import LeNetSigmoid
from asepsis.models.mlp import Logistic
from asepsis.testing.learners import learner_for

LOSS = partial(F.cross_entropy, reduction="none")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(batch_norm: bool = False) -> nn.Module:
    with building_modules(0):
        layers: list[nn.Module] = [nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)]
        if batch_norm:
            layers.insert(1, nn.BatchNorm1d(5))
        return nn.Sequential(*layers)


def test_agrees_with_backward_at_another_row() -> None:
    module, other = network(), network()
    layout = Layout.of(module)
    row, inputs, classes = normal(layout.dim), normal(6, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    found = learner_for(module, (4,), 3).gradient(row, inputs, F.one_hot(classes, 3).float())
    layout.load(other, row)
    F.cross_entropy(other(inputs), classes).backward()  # type: ignore[no-untyped-call]
    expected = torch.cat([p.grad.flatten() for p in other.parameters() if p.grad is not None])
    assert torch.allclose(found, expected, atol=1e-6)


def test_logistic_gradient_by_hand() -> None:
    with building_modules(0):
        module = Logistic().build((2,), 2)
    made = learner_for(module, (2,), 2)
    found = made.gradient(torch.zeros(6), torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 1.0]]))
    assert found.tolist() == [0.5, -1.0, -0.5, 1.0, 0.5, -0.5]


def test_derivative_of_the_gradient_agrees_with_finite_differences() -> None:
    with building_modules(0):
        module = LeNetSigmoid().build((1, 8, 8), 2).double()
    layout = Layout.of(module)
    made = learner_for(module, (1, 8, 8), 2)
    row = layout.flatten(module).double()
    labels = torch.tensor([[0.3, 0.7]], dtype=torch.float64, requires_grad=True)
    inputs = normal(1, 1, 8, 8).double().requires_grad_()

    def length(x: Tensor, y: Tensor) -> Tensor:
        return made.gradient(row, x, y).square().sum()

    assert torch.autograd.gradcheck(length, (inputs, labels), eps=1e-5, atol=1e-5)


def test_buffers_have_no_gradient_and_nothing_outside_changes() -> None:
    module = network(batch_norm=True)
    layout = Layout.of(module)
    row, before = layout.flatten(module), layout.flatten(module)
    made = learner_for(module, (4,), 3)
    found = made.gradient(row, normal(6, 4), torch.eye(3).repeat(2, 1))
    assert made.parameters == layout.parameters == layout.dim - 10
    assert not found[layout.parameters :].any()
    assert found[: layout.parameters].any()
    assert torch.equal(row, before)
    assert torch.equal(layout.flatten(module), before)
