"""What trainers say that they use is what they really use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asepsis.core.contracts import Draws
from asepsis.core.layout import Layout
from asepsis.core.markers import generates
from asepsis.core.registry import build, entries, lookup
from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard

N = 13
OPTIONS: dict[str, dict[str, Any]] = {"mixup": {"alpha": 1e4}}
"""Near equal shares: every sample of a batch leaves its mark on each mixture."""


class Watched(nn.Module):
    """A linear layer that remembers what it was fed."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(N, 3)
        self.fed: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.fed.append(x.detach().clone())
        made: Tensor = self.head(x)
        return made


@pytest.mark.parametrize(
    "name",
    [
        entry.name
        for entry in entries("trainer")
        if not generates(lookup("trainer", entry.name))  # see test_gan_trainer.py
    ],
)
@pytest.mark.parametrize("work", [1.0, 0.5])
def test_training_uses_what_is_drawn(name: str, work: float) -> None:
    trainer = build("trainer", {"name": name, "batch_size": 4, "steps": 8, **OPTIONS.get(name, {})})
    with building_modules(0):
        module = Watched()
    layout = Layout.of(module)
    shard = Shard(torch.eye(N), torch.arange(N) % 3)  # sample i is known by its i-th column
    rng = [np.random.Generator(np.random.Philox(1)) for _ in range(2)]
    task = build("task", "classification")
    trainer.train(module, layout, layout.flatten(module), shard, task, rng[0], work)
    assert isinstance(trainer, Draws)
    said = trainer.drawn(N, work, rng[1])
    used = [inputs.sum(dim=0).nonzero().flatten() for inputs in module.fed]
    assert len(said) == len(used) == 8 * work
    for where, really in zip(said, used, strict=True):
        assert where.sort().values.tolist() == really.tolist()
