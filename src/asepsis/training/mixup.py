"""Local SGD on mixtures of samples: no step looks at a sample as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.contracts import Task
from asepsis.core.layout import Layout
from asepsis.core.registry import register
from asepsis.core.samples import Shard
from asepsis.training.batches import taken
from asepsis.training.sgd import Count, Positive, Sgd, descend


@register("trainer", "mixup")
class Mixup(Sgd):
    """Local SGD whose every sample is a random mixture of several of the batch.

    A batch x ``[n, ...]`` with targets y becomes ``sum_j l_j x[p_j]`` and ``sum_j l_j y[p_j]`` with
    ``mixed`` random orders ``p_j`` (the first is the batch's own) and ``l`` of every sample drawn
    from a symmetric Dirichlet with ``alpha``; class targets become soft ``[n, classes]``. For
    ``mixed`` = 2 that is mixup. Everything else as ``sgd``. An inversion finds mixtures at best;
    no privacy is promised.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization (ICLR 2018); as a defense with
    more than two samples: Huang et al., Evaluating Gradient Inversion Attacks and Defenses in
    Federated Learning (NeurIPS 2021), Section 4

    Fidelity: own

    Example:
        >>> Mixup(mixed=4).alpha
        1.0
    """

    mixed: Annotated[Count, Field(ge=2, le=64)] = 2
    alpha: Positive = 1.0

    def train(
        self,
        module: nn.Module,
        layout: Layout,
        received: Tensor,
        shard: Shard,
        task: Task,
        rng: np.random.Generator,
        work: float,
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Train on mixtures and return the row and telemetry."""
        layout.load(module, received)
        soft = Shard(shard.inputs, softened(module, shard))
        module.train()
        drawn = self.drawn(len(shard), work, rng)
        loss = descend(
            module,
            task,
            self._mixtures(taken(soft, drawn), rng),
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        return layout.flatten(module).sub_(received), {"loss": loss}

    def _mixtures(
        self, plain: Iterator[tuple[Tensor, Tensor]], rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets in plain:
            n = len(inputs)
            orders = [np.arange(n), *(rng.permutation(n) for _ in range(self.mixed - 1))]
            shares = rng.dirichlet(np.full(self.mixed, self.alpha), size=n)
            yield mixture(inputs, orders, shares), mixture(targets, orders, shares)


def mixture(values: Tensor, orders: list[np.ndarray], shares: np.ndarray) -> Tensor:
    """Return ``sum_j shares[:, j] values[orders[j]]`` for values ``[n, ...]``.

    Example:
        >>> two = torch.tensor([[0.0], [10.0]])
        >>> orders = [np.array([0, 1]), np.array([1, 0])]
        >>> mixture(two, orders, np.array([[0.9, 0.1], [0.5, 0.5]])).tolist()
        [[1.0], [5.0]]
    """
    made = torch.zeros_like(values)
    for order, share in zip(orders, shares.T, strict=True):
        each = torch.from_numpy(share).to(values).view(-1, *[1] * (values.dim() - 1))
        made += each * values[torch.from_numpy(order).to(values.device)]
    return made


@torch.no_grad()
def softened(module: nn.Module, shard: Shard) -> Tensor:
    """Return targets that can be mixed: classes become ``[n, classes]``, as the network answers."""
    if shard.targets.dtype != torch.long:
        return shard.targets.float()
    module.eval()
    return F.one_hot(shard.targets, module(shard.inputs[:1]).shape[1]).float()
