"""Mixup: mixtures by hand, soft targets, and the engine that must not take it for plain SGD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from asepsis.core.engine import Plan
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard
from asepsis.engines import make_engine
from asepsis.training.mixup import Mixup, mixture, softened

TASK = build("task", "tabular")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def network() -> nn.Module:
    with building_modules(0):
        return nn.Linear(4, 3)


def shard(n: int = 20) -> Shard:
    inputs = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return Shard(inputs, torch.arange(n) % 3)


def test_inputs_and_targets_are_mixed_alike() -> None:
    values = torch.arange(36.0).view(6, 2, 3)
    orders = [np.arange(6), rng(1).permutation(6)]
    shares = rng(2).dirichlet(np.ones(2), size=6)
    made = mixture(values, orders, shares)
    for i in range(6):
        expected = shares[i, 0] * values[i] + shares[i, 1] * values[orders[1][i]]
        torch.testing.assert_close(made[i], expected.float())


def test_classes_become_soft_and_findings_stay() -> None:
    data = shard(5)
    assert softened(network(), data).tolist() == torch.eye(3)[data.targets].tolist()
    findings = torch.tensor([[1, 0], [0, 1]], dtype=torch.uint8)
    assert softened(network(), Shard(data.inputs[:2], findings)).dtype == torch.float32


def test_a_step_is_the_gradient_of_a_mixed_batch() -> None:
    module, data = network(), shard()
    layout = Layout.of(module)
    start = layout.flatten(module)
    trainer = Mixup(lr=0.1, momentum=0.0, steps=1, batch_size=20)
    row, side = trainer.train(module, layout, start, data, TASK, rng(3), 1.0)
    stream = rng(3)
    order = torch.from_numpy(stream.permutation(20))
    inputs, soft = data.inputs[order], torch.eye(3)[data.targets[order]]
    other = stream.permutation(20)
    share = torch.from_numpy(stream.dirichlet(np.ones(2), size=20)).float()
    mixed = share[:, :1] * inputs + share[:, 1:] * inputs[other]
    wanted = share[:, :1] * soft + share[:, 1:] * soft[other]
    layout.load(module, start)
    loss = -(wanted * torch.log_softmax(module(mixed), dim=1)).sum(dim=1).mean()
    found = torch.autograd.grad(loss, list(module.parameters()))
    torch.testing.assert_close(row, -0.1 * torch.cat([g.reshape(-1) for g in found]))
    assert side["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)


def test_the_batched_engine_refuses_what_it_cannot_do() -> None:
    module = network()
    plan = Plan(module, Layout.of(module), TASK, Mixup(), 0, {(0, "clean"): shard()}, {0: 20.0})
    with pytest.raises(ConfigError, match="can be batched"):
        make_engine("batched").start(plan)
