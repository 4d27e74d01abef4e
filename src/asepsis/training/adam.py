"""Local Adam, its state fresh in every round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.contracts import Task
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.registry import register
from asepsis.core.samples import Shard
from asepsis.core.workshop import Recipe
from asepsis.training.aligned import aligned
from asepsis.training.batches import places, step_count, taken

EPSILON = 1e-8
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


@register("trainer", "adam")
class Adam:
    """Local Adam: every hospital takes its steps from the received weights.

    ``m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g²;  w <- w - lr m' / (sqrt(v') + 1e-8)`` with
    ``m' = m / (1 - b1^t)``, ``v' = v / (1 - b2^t)`` and ``g`` the gradient plus ``weight_decay``
    times ``w``. Moments and ``t`` start from zero each round: nothing of them travels, and with
    one hospital that is the difference from centralized Adam. ``steps`` counts batches and takes
    the place of ``epochs`` when given. The row is local minus received, ``[d]``, buffers
    included; telemetry is the mean training ``loss``. Attacks that train by a recipe of their own
    are told ``lr``, and ``beta1`` as momentum.

    Raises ConfigError when an attack asks how much of a gradient an update holds: it is no
    multiple of one.

    Source: Kingma and Ba, Adam, ICLR 2015, algorithm 1

    Fidelity: own

    Example:
        >>> Adam(lr=0.001).batch
        32
    """

    lr: Positive = 0.001
    beta1: Share = 0.9
    beta2: Share = 0.999
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
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
        loss = self._descend(module, task, taken(shard, self.drawn(len(shard), work, rng)))
        return layout.flatten(module).sub_(received), {"loss": loss}

    def _descend(
        self, module: nn.Module, task: Task, steps: Iterable[tuple[Tensor, Tensor]]
    ) -> float:
        weights: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
        first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
        taken = [torch.zeros((), device=weight.device) for weight in weights]
        losses: list[Tensor] = []
        for inputs, targets in steps:
            loss = task.loss(module(inputs), targets).mean()
            gradients = list(torch.autograd.grad(loss, weights))
            self._step(weights, gradients, first, second, taken)
            losses.append(loss.detach())
        return float(torch.stack(losses).double().mean()) if losses else float("nan")

    @torch.no_grad()
    def _step(
        self,
        weights: list[Tensor],
        gradients: list[Tensor],
        first: list[Tensor],
        second: list[Tensor],
        taken: list[Tensor],
    ) -> None:
        torch._foreach_add_(taken, 1)
        # The kernel behind torch.optim.Adam(fused=True), without the optimizer's bookkeeping.
        torch._fused_adam_(
            weights,
            aligned(gradients, weights),
            first,
            second,
            [],
            taken,
            lr=self.lr,
            beta1=self.beta1,
            beta2=self.beta2,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def gradient_scale(self, samples: int) -> float:
        """Refuse: an update made by Adam is no multiple of a gradient.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "an update made by Adam tells no gradient",
            place="trainer",
            got="adam",
            fix="use sgd with attacks that invert gradients",
        )

    def recipe(self, samples: int, work: float = 1.0) -> Recipe:
        """Return what a hospital with so many samples is told to do."""
        steps = ceil(work * step_count(samples, self.batch_size, self.epochs, self.steps))
        return Recipe(self.lr, self.beta1, self.weight_decay, self.batch_size, steps)

    def drawn(self, samples: int, work: float, rng: np.random.Generator) -> list[Tensor]:
        """Return which samples every local step uses, drawn as training draws them."""
        return places(samples, self.batch_size, self.recipe(samples, work).steps, rng)

    @property
    def batch(self) -> int:
        """Samples in a local batch."""
        return self.batch_size
