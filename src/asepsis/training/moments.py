"""Optimizers as single steps: their moments come from home and can be taken back there.

Each walks a player's weights with gradients that somebody else has computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from asepsis.core.updates import State
from asepsis.training.aligned import aligned

EPSILON = 1e-8

SMOOTHING = 0.99
"""How much of its mean square RMSprop keeps in a step: PyTorch's default."""


COUNT = "t"
"""The moment that is one number a weight: how many steps were taken."""


class Optimizer(Protocol):
    """Moves a player's weights."""

    weights: list[Tensor]

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """Take one step; a weight without a gradient stays where it is."""
        ...


def trained(player: nn.Module) -> dict[str, Tensor]:
    """Return the weights that are trained, by name."""
    return {name: part for name, part in player.named_parameters() if part.requires_grad}


class AdamAfresh:
    """PyTorch's own Adam, which starts from zero and forgets."""

    def __init__(self, player: nn.Module, lr: float, betas: tuple[float, float]) -> None:
        self.weights = list(trained(player).values())
        self._adam = torch.optim.Adam(self.weights, lr=lr, betas=betas)

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """Take one step."""
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)


class Remembering(ABC):
    """An optimizer with moments ``NAME/weight/part`` of every weight."""

    parts: ClassVar[tuple[str, ...]]

    def __init__(self, player: nn.Module, name: str, home: Mapping[str, Tensor]) -> None:
        found = trained(player)
        self.weights = list(found.values())
        self._names = [f"{name}/{weight}" for weight in found]
        self._moments = {
            part: [
                _recalled(home, f"{of}/{part}", weight.new_zeros(()) if part == COUNT else weight)
                for of, weight in zip(self._names, self.weights, strict=True)
            ]
            for part in self.parts
        }

    def state(self) -> State:
        """Return the moments as they are now, by name; later steps change them."""
        return {
            f"{of}/{part}": moment
            for part, moments in self._moments.items()
            for of, moment in zip(self._names, moments, strict=True)
        }

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """Take one step."""
        weights, given, used = [], [], []
        for k, (weight, gradient) in enumerate(zip(self.weights, gradients, strict=True)):
            if gradient is not None:
                weights.append(weight)
                given.append(gradient)
                used.append(k)
        if used:
            self._move(
                weights,
                aligned(given, weights),
                *([m[k] for k in used] for m in self._moments.values()),
            )

    @abstractmethod
    def _move(self, weights: list[Tensor], gradients: list[Tensor], *moments: list[Tensor]) -> None:
        """Change the weights, and the moments in the order of ``parts``."""


class FusedAdam(Remembering):
    """Adam, the whole step in one kernel: moments ``m``, ``v`` and the number of steps ``t``.

    Source: Kingma and Ba, Adam, ICLR 2015, algorithm 1

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> adam = FusedAdam(layer, "adam/layer", {}, lr=0.1, betas=(0.5, 0.999))
        >>> adam.step([torch.ones(1, 1)])
        >>> {name: round(part.item(), 3) for name, part in adam.state().items()}
        {'adam/layer/weight/m': 0.5, 'adam/layer/weight/v': 0.001, 'adam/layer/weight/t': 1.0}
    """

    parts = ("m", "v", COUNT)

    def __init__(
        self,
        player: nn.Module,
        name: str,
        home: Mapping[str, Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
    ) -> None:
        super().__init__(player, name, home)
        self._lr, self._betas = lr, betas

    def _move(self, weights: list[Tensor], gradients: list[Tensor], *moments: list[Tensor]) -> None:
        first, second, taken = moments
        torch._foreach_add_(taken, 1)
        torch._fused_adam_(
            weights,
            gradients,
            first,
            second,
            [],
            taken,
            lr=self._lr,
            beta1=self._betas[0],
            beta2=self._betas[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )


class RmsProp(Remembering):
    """RMSprop: ``v <- 0.99 v + 0.01 g²;  w <- w - lr g / (sqrt(v) + 1e-8)``.

    Source: Tieleman and Hinton, Lecture 6.5 (rmsprop), Coursera: Neural Networks for Machine
    Learning, 2012

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> rms = RmsProp(layer, "rmsprop/layer", {}, lr=0.1)
        >>> before = layer.weight.item()
        >>> rms.step([torch.ones(1, 1)])
        >>> round(before - layer.weight.item(), 3)
        1.0
    """

    parts = ("v",)

    def __init__(
        self, player: nn.Module, name: str, home: Mapping[str, Tensor], *, lr: float
    ) -> None:
        super().__init__(player, name, home)
        self._lr = lr

    def _move(self, weights: list[Tensor], gradients: list[Tensor], *moments: list[Tensor]) -> None:
        (second,) = moments
        torch._foreach_mul_(second, SMOOTHING)
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - SMOOTHING)
        scale = torch._foreach_sqrt(second)
        torch._foreach_add_(scale, EPSILON)
        torch._foreach_addcdiv_(weights, gradients, scale, value=-self._lr)


def _recalled(home: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    # Copied, into the weight's own memory layout: what was kept stays as it was kept, and fused
    # kernels walk weights, gradients and moments side by side in memory.
    made = torch.zeros_like(like)
    return made.copy_(home[name]) if name in home else made
