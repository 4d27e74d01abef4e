"""Whose updates a curious server can tell apart, and what their last layer says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asepsis.attacks.observe.counts import samples_behind
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.samples import Array, Kind
from asepsis.core.threat import Setting
from asepsis.core.updates import Delivery, Grouped, Individual

LABELED = frozenset({Kind.IMAGE, Kind.VOLUME, Kind.MULTILABEL_IMAGE, Kind.TABLE, Kind.SEQUENCE})
"""Kinds of samples that have classes or findings."""


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """One update ``[d]`` and how many samples its hospital claims; all together without client.

    ``hospitals`` is how many it belongs to; ``members`` who they are, where that is known.
    """

    client: int | None
    delta: Tensor
    samples: int
    hospitals: int = 1
    members: tuple[int, ...] = ()


def updates_of(delivery: Delivery, batch: int, client: int | None = None) -> list[Update]:
    """Return the finite updates of a delivery, of one client where it is named.

    A secure sum has one update, the weighted mean, of a hospital of mean size; of grouped sums
    every group has one. Where counts say nothing a hospital has one ``batch``.
    """
    return [one for one in _all(delivery, batch, client) if bool(one.delta.isfinite().all())]


def _all(delivery: Delivery, batch: int, client: int | None) -> Iterator[Update]:
    sizes = samples_behind(delivery, batch)
    if isinstance(delivery, Individual):
        groups = delivery.members if isinstance(delivery, Grouped) else {}
        for i, who in enumerate(delivery.clients):
            group = groups.get(who, (who,))
            if client is None or client in group:
                alone = who if len(group) == 1 else None
                yield Update(alone, delivery.rows.row(i), sizes[i], len(group), group)
    elif delivery.weight > 0:
        yield Update(None, delivery.total / delivery.weight, sizes[0], delivery.count)


def each_hospital(seen: list[Update], rows: Array) -> tuple[tuple[int, ...], Tensor]:
    """Return hospitals, and rows ``[m, ...]`` with one for each: members of a group share theirs.

    Example:
        >>> group = Update(None, torch.zeros(1), 8, hospitals=2, members=(1, 4))
        >>> each_hospital([group], np.array([[3, 5]]))
        ((1, 4), tensor([[3, 5],
                [3, 5]]))
    """
    clients = tuple(client for one in seen for client in one.members)
    times = [max(1, len(one.members)) for one in seen]
    return clients, torch.from_numpy(np.repeat(rows, times, axis=0))


@dataclass(frozen=True, slots=True)
class Head:
    """The columns of the output layer: its weights, by class, and its bias where it has one."""

    weight: slice
    bias: slice | None
    classes: int

    def signal(self, rows: Tensor) -> Tensor:
        """Return one number a class of rows ``[n, d]``: the bias, or the summed weights."""
        if self.bias is not None:
            return rows[:, self.bias]
        return rows[:, self.weight].reshape(len(rows), self.classes, -1).sum(dim=2)

    def all(self, rows: Tensor) -> Tensor:
        """Return all columns of the layer, of rows ``[n, d]``."""
        stop = self.weight.stop if self.bias is None else self.bias.stop
        return rows[:, self.weight.start : stop]


def head_of(layout: Layout, classes: int) -> Head | None:
    """Find the output layer: the last parameters, weights ``[classes, ...]`` and maybe a bias.

    Example:
        >>> from torch import nn
        >>> head_of(Layout.of(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))), 2)
        Head(weight=slice(15, 21, None), bias=slice(21, 23, None), classes=2)
    """
    slots = [slot for slot in layout.slots if slot.parameter]
    bias = slots.pop() if slots and slots[-1].shape == (classes,) else None
    if not slots or len(slots[-1].shape) < 2 or slots[-1].shape[0] != classes:
        return None
    return Head(slots[-1].where, None if bias is None else bias.where, classes)


def check_head(setting: Setting) -> None:
    """Refuse where the output layer's gradient cannot be read off an update.

    Raises:
        ConfigError: updates are no gradients, or the network ends otherwise.
    """
    setting.scale(1)
    if head_of(setting.learner.layout, setting.learner.classes) is None:
        raise ConfigError(
            "the network does not end in a linear layer with one output a class",
            place="attack",
            fix="choose such a model: mlp, logistic, small-cnn",
        )
