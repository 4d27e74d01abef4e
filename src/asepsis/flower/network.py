"""What a team may hand over besides names: its network, and data of the server's own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch.nn.functional as F
from torch import Tensor, nn

from asepsis.core.contracts import Trainer
from asepsis.core.desk import Network, Root
from asepsis.core.layout import Layout
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Shard
from asepsis.core.threads import one_thread
from asepsis.tasks.classification import Classification

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs and targets to the loss of every sample ``[n]``."""


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


@dataclass(frozen=True, eq=False)
class TorchNetwork:
    """The module whose ``state_dict`` an app sends, for defenses that try out models.

    ``input_shape`` is that of one sample; ``loss`` gives every sample's loss ``[n]``.

    Example:
        >>> TorchNetwork(nn.Linear(4, 2), input_shape=(4,), classes=2).layout.dim
        10
    """

    module: nn.Module
    input_shape: tuple[int, ...]
    classes: int
    loss: Loss = _cross_entropy

    @property
    def layout(self) -> Layout:
        """Where the module's tensors lie in a row."""
        return Layout.of(self.module)

    def network(self) -> Network:
        """Return it as functions of a row."""
        task = _Given(self.loss)
        return Network(self.module, self.layout, task, self.input_shape, self.classes)


class _Given(Classification):
    """A classification with the team's own loss."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every sample."""
        return self._loss(outputs, targets)


def root_of(
    data: tuple[Tensor, Tensor],
    network: Network,
    trainer: Trainer,
    sent: Tensor,
    round_: int,
    streams: Streams,
) -> Root:
    """Return the server's own data; its update is trained when first asked."""
    shard = Shard(*data)

    @cache
    def train() -> Tensor:
        module = copy.deepcopy(network.module)
        rng = streams.at(Draw.ROOT, round_)
        with one_thread():
            row, _ = trainer.train(module, network.layout, sent, shard, network.task, rng, 1.0)
        return row.to(sent.dtype)

    return Root(shard, "the server's own", lambda: train().clone())
