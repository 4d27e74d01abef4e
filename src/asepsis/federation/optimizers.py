"""How the server applies an aggregate to the global row."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from asepsis.core.registry import register
from asepsis.core.updates import State

Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


@register("server-optimizer", "fedavg")
class FedAvg:
    """FedAvg: the aggregate is added to the global model.

    ``w <- w + lr delta``, ``[d]``, buffers included (those always with rate 1).

    Source: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized
    Data, AISTATS 2017, algorithm 1

    Fidelity: own

    Example:
        >>> FedAvg().apply({}, torch.zeros(2), torch.ones(2), 2)[1]
        tensor([1., 1.])
    """

    lr: Positive = 1.0

    def init(self, dim: int) -> State:
        """Return the empty state."""
        return {}

    def apply(
        self, state: State, row: Tensor, delta: Tensor, parameters: int
    ) -> tuple[State, Tensor]:
        """Return the next global row."""
        return state, _moved(row, delta, self.lr * delta[:parameters])


@register("server-optimizer", "fedadam")
class FedAdam:
    """FedAdam: Adam on the server, with the aggregate as its gradient.

    ``m <- b1 m + (1 - b1) delta``; ``v <- b2 v + (1 - b2) delta^2``, from ``tau^2``;
    ``w <- w + lr m / (sqrt(v) + tau)``, all ``[d]``. Buffers are averaged plainly: an adaptive
    step would make a running variance negative.

    Source: Reddi et al., Adaptive Federated Optimization, ICLR 2021, algorithm 2

    Fidelity: own

    Example:
        >>> sorted(FedAdam().init(3))
        ['m', 'v']
    """

    lr: Positive = 0.01
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    tau: Positive = 0.001

    def init(self, dim: int) -> State:
        """Return zero momentum and ``tau^2`` as second moment."""
        return {"m": torch.zeros(dim), "v": torch.full((dim,), self.tau**2)}

    def apply(
        self, state: State, row: Tensor, delta: Tensor, parameters: int
    ) -> tuple[State, Tensor]:
        """Return the next state and global row."""
        m = self.beta1 * state["m"] + (1 - self.beta1) * delta
        v = self.second_moment(state["v"], delta.square())
        step = self.lr * m / (v.sqrt() + self.tau)
        return {"m": m, "v": v}, _moved(row, delta, step[:parameters])

    def second_moment(self, v: Tensor, square: Tensor) -> Tensor:
        """Return the next second moment: an exponential average."""
        return self.beta2 * v + (1 - self.beta2) * square


@register("server-optimizer", "fedyogi")
class FedYogi(FedAdam):
    """FedYogi: as FedAdam, with a second moment that grows and shrinks additively.

    ``v <- v - (1 - b2) delta^2 sign(v - delta^2)``; everything else as ``fedadam``.

    Source: Reddi et al., Adaptive Federated Optimization, ICLR 2021, algorithm 2

    Fidelity: own

    Example:
        >>> FedYogi().second_moment(torch.tensor([1.0]), torch.tensor([4.0]))
        tensor([1.0400])
    """

    def second_moment(self, v: Tensor, square: Tensor) -> Tensor:
        """Return the next second moment: an additive change."""
        return v - (1 - self.beta2) * square * torch.sign(v - square)


def _moved(row: Tensor, delta: Tensor, step: Tensor) -> Tensor:
    moved = row + delta
    moved[: len(step)] = row[: len(step)] + step
    return moved
