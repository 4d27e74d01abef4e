"""Local Adam, against PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from asepsis.core.engine import Job, Plan
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.rng import Draw, Streams, building_modules
from asepsis.core.samples import Shard
from asepsis.engines import make_engine
from asepsis.tasks.tabular import Tabular
from asepsis.training.adam import Adam
from asepsis.training.batches import batches


def network() -> nn.Module:
    with building_modules(0):
        return nn.Sequential(
            nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)
        )


def shard(samples: int = 40) -> Shard:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(samples, 4, generator=generator)
    return Shard(inputs, (inputs[:, 0] > 0).long())


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_agrees_with_torch_adam(weight_decay: float) -> None:
    ours, theirs, layout = network(), network(), Layout.of(network())
    received, rng = layout.flatten(ours), np.random.default_rng(0)
    trainer = Adam(lr=0.01, batch_size=8, epochs=3, weight_decay=weight_decay)
    row, telemetry = trainer.train(ours, layout, received, shard(), Tabular(), rng, 1.0)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=weight_decay)
    losses = []
    for inputs, targets in batches(shard(), 8, 15, np.random.default_rng(0)):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(theirs(inputs), targets)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    torch.testing.assert_close(received + row, layout.flatten(theirs))
    assert telemetry["loss"] == pytest.approx(np.mean(losses))


def test_every_round_starts_afresh_and_a_straggler_does_less() -> None:
    module = network()
    layout, trainer = Layout.of(module), Adam(batch_size=8)
    received = layout.flatten(module)
    rows = [
        trainer.train(
            module, layout, received, shard(), Tabular(), Streams(0).at(Draw.BATCH), work
        )[0]
        for work in (1.0, 1.0, 0.2)
    ]
    assert torch.equal(rows[0], rows[1])
    # One step of Adam moves every weight that has a gradient by the learning rate.
    moved = rows[2][: layout.parameters].abs()
    assert moved.max().item() == pytest.approx(0.001, rel=1e-3)


def test_what_does_not_fit_adam_is_refused() -> None:
    with building_modules(0):
        module = nn.Linear(4, 2)
    plan = Plan(module, Layout.of(module), Tabular(), Adam(), 0, {(0, "clean"): shard()}, {0: 1.0})
    with pytest.raises(ConfigError, match="sgd and prox"):
        make_engine("batched").start(plan)
    with pytest.raises(ConfigError, match="tells no gradient"):
        Adam().gradient_scale(10)
    engine = make_engine("serial")
    engine.start(plan)
    (reply,) = engine.train(plan.layout.flatten(module), [Job(0, 0)])
    assert reply.row.isfinite().all()
