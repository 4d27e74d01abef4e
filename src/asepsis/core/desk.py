"""What the server has besides the delivery: the model as functions, and data of its own.

Every defense declares what of this it needs, so that a record can say what the server was
assumed to know.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from asepsis.core.layout import Layout
from asepsis.core.samples import Shard

if TYPE_CHECKING:
    from asepsis.core.contracts import Task

BATCH = 1024
VALUES = 1 << 22
"""Most input values of a batch: a network that makes images keeps many times as many."""


def blocks(inputs: Tensor) -> tuple[Tensor, ...]:
    """Cut inputs into batches for evaluation; a batch of large images has fewer of them.

    Example:
        >>> [len(block) for block in blocks(torch.zeros(2000, 5))]
        [1024, 976]
    """
    each = max(1, inputs[:1].numel())
    return torch.split(inputs, max(1, min(BATCH, VALUES // each)))


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """The model as functions of a row ``[d]``; the module itself is never changed.

    Rows are models, not updates: the received row plus a delta.
    """

    module: nn.Module
    layout: Layout
    task: Task
    input_shape: tuple[int, ...]
    classes: int

    def at(self, row: Tensor) -> nn.Module:
        """Return a private copy of the network in evaluation mode, loaded with ``row``."""
        made = copy.deepcopy(self.module).eval()
        self.layout.load(made, row)
        return made

    def outputs(self, row: Tensor, inputs: Tensor) -> Tensor:
        """Return what the model ``row`` puts out for prepared inputs, without gradients."""
        module = self.at(row)
        with torch.no_grad():
            return torch.cat([module(block) for block in blocks(inputs)])

    def probabilities(self, row: Tensor, inputs: Tensor) -> Tensor:
        """Return the model's answers to inputs: probabilities ``[n, k]``, or images."""
        return self.task.probabilities(self.outputs(row, inputs))

    def losses(self, row: Tensor, shard: Shard) -> Tensor:
        """Return the model's loss on every sample ``[n]``."""
        return self.task.loss(self.outputs(row, shard.inputs), shard.targets)


@dataclass(frozen=True, slots=True, eq=False)
class Root:
    """Clean samples that the server holds itself: of no test patient and no training patient.

    ``whose`` says where they come from. ``update()`` trains on them from the received model, by
    the protocol, and returns the server's own row ``[d]``.
    """

    shard: Shard
    whose: str
    update: Callable[[], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Desk:
    """All of it together, as far as it is there.

    ``expected`` is how many hospitals the protocol expects in a round: a public figure.
    """

    received: Tensor | None = None
    layout: Layout | None = None
    network: Network | None = None
    root: Root | None = None
    expected: float | None = None

    def offers(self) -> frozenset[str]:
        """Return the names of what is there.

        Example:
            >>> sorted(Desk(received=torch.zeros(3)).offers())
            ['received']
        """
        there = {
            "received": self.received,
            "layout": self.layout,
            "head": self.layout,
            "network": self.network,
            "root": self.root,
        }
        return frozenset(name for name, item in there.items() if item is not None)
