"""Local stochastic gradient descent, with FedProx's proximal term when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import ceil
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.contracts import Task
from asepsis.core.layout import Layout
from asepsis.core.registry import register
from asepsis.core.samples import Shard
from asepsis.core.workshop import Recipe
from asepsis.training.aligned import aligned
from asepsis.training.batches import places, step_count, taken

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


def descend(
    module: nn.Module,
    task: Task,
    steps: Iterable[tuple[Tensor, Tensor]],
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    mu: float = 0.0,
    adjust: Callable[[list[Tensor]], None] | None = None,
) -> float:
    """Take SGD steps in place and return the mean training loss.

    ``v <- momentum v + g + weight_decay w + mu (w - w_0);  w <- w - lr v``, where ``w_0`` are the
    weights the module starts with. ``adjust`` may change the gradients ``g`` in place before each
    step; they come in the order of the module's trainable parameters.
    """
    weights: list[Tensor] = [
        parameter for parameter in module.parameters() if parameter.requires_grad
    ]
    start = [weight.detach().clone() for weight in weights] if mu else []
    velocity = [torch.zeros_like(weight) for weight in weights] if momentum else []
    losses: list[Tensor] = []
    for inputs, targets in steps:
        loss = task.loss(module(inputs), targets).mean()
        gradients = list(torch.autograd.grad(loss, weights))
        if adjust is not None:
            adjust(gradients)
        if mu:
            _pull_back(gradients, weights, start, mu)
        _step(weights, gradients, velocity, lr, momentum, weight_decay, first=not losses)
        losses.append(loss.detach())
    return float(torch.stack(losses).double().mean()) if losses else float("nan")


@torch.no_grad()
def _pull_back(
    gradients: list[Tensor], weights: list[Tensor], start: list[Tensor], mu: float
) -> None:
    for gradient, weight, origin in zip(gradients, weights, start, strict=True):
        gradient.add_(weight - origin, alpha=mu)


@torch.no_grad()
def _step(
    weights: list[Tensor],
    gradients: list[Tensor],
    velocity: list[Tensor],
    lr: float,
    momentum: float,
    weight_decay: float,
    *,
    first: bool,
) -> None:
    # The kernel behind torch.optim.SGD(fused=True), without the optimizer's bookkeeping: a third
    # of a small network's step is that bookkeeping.
    torch._fused_sgd_(
        weights,
        aligned(gradients, weights),
        velocity,
        weight_decay=weight_decay,
        momentum=momentum,
        lr=lr,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=first,
    )


def delta_scale(lr: float, momentum: float, steps: int) -> float:
    """Sum of the weights with which a constant gradient enters the delta.

    With momentum ``b`` the k-th of K gradients counts ``lr (1 - b^(K-k+1)) / (1 - b)``.

    Example:
        >>> delta_scale(0.1, 0.0, 3)
        0.30000000000000004
    """
    return lr * sum((1 - momentum ** (steps - k)) / (1 - momentum) for k in range(steps))


@register("trainer", "sgd")
class Sgd:
    """Local SGD: every hospital takes its steps from the received weights.

    ``v <- momentum v + g + weight_decay w;  w <- w - lr v``; momentum starts from zero each
    round. ``steps`` counts batches and takes the place of ``epochs`` when given. The row is local
    minus received, ``[d]``, buffers included; telemetry is the mean training ``loss``.

    Source: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized
    Data, AISTATS 2017, algorithm 1 (ClientUpdate)

    Fidelity: own

    Example:
        >>> Sgd(lr=0.1, steps=8).batch
        32
    """

    lr: Positive = 0.05
    momentum: Share = 0.9
    weight_decay: NonNegative = 0.0
    batch_size: Count = 32
    epochs: Count = 1
    steps: Count | None = None

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
        """Train and return the row and telemetry."""
        layout.load(module, received)
        module.train()
        loss = descend(
            module,
            task,
            taken(shard, self.drawn(len(shard), work, rng)),
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            mu=self.pull,
        )
        return layout.flatten(module).sub_(received), {"loss": loss}

    def gradient_scale(self, samples: int) -> float:
        """Return how much of an average gradient a delta holds."""
        steps = step_count(samples, self.batch_size, self.epochs, self.steps)
        return delta_scale(self.lr, self.momentum, steps)

    def recipe(self, samples: int, work: float = 1.0) -> Recipe:
        """Return what a hospital with so many samples is told to do."""
        steps = ceil(work * step_count(samples, self.batch_size, self.epochs, self.steps))
        return Recipe(self.lr, self.momentum, self.weight_decay, self.batch_size, steps)

    def drawn(self, samples: int, work: float, rng: np.random.Generator) -> list[Tensor]:
        """Return which samples every local step uses, drawn as training draws them."""
        return places(samples, self.batch_size, self.recipe(samples, work).steps, rng)

    @property
    def batch(self) -> int:
        """Samples in a local batch."""
        return self.batch_size

    @property
    def pull(self) -> float:
        """Strength of the proximal term: none."""
        return 0.0


@register("trainer", "prox")
class Prox(Sgd):
    """FedProx: local SGD with a proximal term that keeps hospitals near the received model.

    Minimizes ``loss(w) + mu/2 ||w - w_t||^2``; everything else as ``sgd``. With ``mu`` = 0 it is
    ``sgd``.

    Source: Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020, equation 2

    Fidelity: own

    Example:
        >>> Prox(mu=0.1).pull
        0.1
    """

    mu: NonNegative = 0.01

    @property
    def pull(self) -> float:
        """Strength of the proximal term."""
        return self.mu
