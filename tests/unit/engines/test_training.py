from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from asepsis.core.layout import Layout
from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard
from asepsis.tasks.tabular import Tabular
from asepsis.training.batches import batches
from asepsis.training.sgd import Prox, Sgd, delta_scale, descend


def data(samples: int = 40) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(samples, 4, generator=generator)
    return [(inputs[i : i + 8], (inputs[i : i + 8, 0] > 0).long()) for i in range(0, samples, 8)]


def linear() -> nn.Linear:
    with building_modules(0):
        return nn.Linear(4, 2)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_descent_agrees_with_torch_sgd(momentum: float, weight_decay: float) -> None:
    ours, theirs = linear(), linear()
    descend(ours, Tabular(), data(), lr=0.1, momentum=momentum, weight_decay=weight_decay)
    optimizer = torch.optim.SGD(
        theirs.parameters(), lr=0.1, momentum=momentum, weight_decay=weight_decay
    )
    for inputs, targets in data():
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(theirs(inputs), targets))
        optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_prox_agrees_with_the_penalized_loss() -> None:
    ours, theirs, origin = linear(), linear(), linear()
    descend(ours, Tabular(), data(), lr=0.1, mu=0.7)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for inputs, targets in data():
        pairs = zip(theirs.parameters(), origin.parameters(), strict=True)
        penalty = sum(((a - b.detach()) ** 2).sum() for a, b in pairs)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(theirs(inputs), targets) + 0.35 * penalty
        torch.autograd.backward(loss)
        optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def train(trainer: Sgd) -> torch.Tensor:
    module = linear()
    layout = Layout.of(module)
    inputs, targets = (torch.cat(parts) for parts in zip(*data(), strict=True))
    rng = np.random.default_rng(0)
    shard = Shard(inputs, targets)
    row, side = trainer.train(module, layout, layout.flatten(module), shard, Tabular(), rng, 1.0)
    assert side["loss"] > 0
    return row


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    shard = Shard(torch.zeros(9, 2), torch.zeros(9).long())
    assert [len(y) for _, y in batches(shard, 4, 2, np.random.default_rng(0))] == [4, 5]


def test_prox_with_zero_mu_is_sgd() -> None:
    assert torch.equal(train(Prox(mu=0.0)), train(Sgd()))
    assert not torch.equal(train(Prox(mu=1.0)), train(Sgd()))


def test_batches_cover_the_data_once_a_pass() -> None:
    shard = Shard(torch.arange(10.0)[:, None], torch.arange(10))
    seen = list(batches(shard, 4, 6, np.random.default_rng(0)))
    assert [len(targets) for _, targets in seen] == [4, 4, 2, 4, 4, 2]
    first, second = (torch.cat([y for _, y in part]) for part in (seen[:3], seen[3:]))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("momentum", "steps"), [(0.0, 1), (0.0, 5), (0.9, 1), (0.9, 5)])
def test_delta_scale_is_exact_for_a_constant_gradient(momentum: float, steps: int) -> None:
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=momentum)
    for _ in range(steps):
        weight.grad = torch.ones(1)
        optimizer.step()
    assert -float(weight.detach()) == pytest.approx(delta_scale(0.1, momentum, steps), rel=1e-5)
