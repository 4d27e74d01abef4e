"""The same steps however inputs and weights are laid out in memory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from asepsis.core.layout import Layout
from asepsis.core.rng import Draw, Streams, building_modules
from asepsis.core.samples import Shard
from asepsis.tasks.classification import Classification
from asepsis.training.adam import Adam
from asepsis.training.sgd import Sgd


@pytest.mark.parametrize(
    "trainer", [Sgd(lr=0.1, steps=3), Adam(lr=0.01, steps=3)], ids=["sgd", "adam"]
)
def test_channels_last_inputs_train_a_plain_module_alike(trainer: Sgd | Adam) -> None:
    with building_modules(0):
        plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(40, 3, 8, 8, generator=draws)
    targets = torch.arange(40) % 2

    def row(inputs: Tensor) -> Tensor:
        module = copy.deepcopy(plain)
        layout = Layout.of(module)
        shard, rng = Shard(inputs, targets), Streams(0).at(Draw.BATCH)
        received = layout.flatten(module)
        return trainer.train(module, layout, received, shard, Classification(), rng, 1.0)[0]

    usual = row(images)
    other = row(images.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(usual, other, atol=1e-5)
