from __future__ import annotations

import torch
from torch import nn

from asepsis.core.layout import Layout
from asepsis.core.rng import building_modules


def network() -> nn.Sequential:
    with building_modules(0):
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def test_round_trip() -> None:
    module = network()
    layout = Layout.of(module)
    row = torch.arange(layout.dim, dtype=torch.float32)
    layout.load(module, row)
    assert torch.equal(layout.flatten(module), row)


def test_parameters_come_first_then_float_buffers_and_counters_stay_local() -> None:
    layout = Layout.of(network())
    kinds = [slot.parameter for slot in layout.slots]
    assert kinds == sorted(kinds, reverse=True)
    names = [slot.name for slot in layout.slots]
    assert "1.running_var" in names
    assert "1.num_batches_tracked" not in names
    assert layout.dim == layout.parameters + 4


def test_loading_copies_so_that_training_cannot_change_the_server() -> None:
    module = network()
    layout = Layout.of(module)
    row = layout.flatten(module)
    before = row.clone()
    layout.load(module, row)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    assert torch.equal(row, before)


def test_local_parts_never_travel() -> None:
    layout = Layout.of(network(), local=("1.",))
    assert all(not slot.name.startswith("1.") for slot in layout.slots)


def test_channels_last_memory_gives_the_same_row() -> None:
    module = network()
    row = Layout.of(module).flatten(module)
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert torch.equal(Layout.of(module).flatten(module), row)


def test_views_share_memory_and_name_every_tensor() -> None:
    module = network()
    layout = Layout.of(module)
    row = layout.flatten(module)
    views = layout.views(row)
    assert torch.equal(views["3.weight"], module.get_parameter("3.weight"))
    row[layout.slots[0].where] = 7.0
    assert bool((views["0.weight"] == 7).all())
