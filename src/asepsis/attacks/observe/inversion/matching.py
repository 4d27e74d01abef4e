"""How far a dummy's gradient is from the one that was sent, and how rough an image is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]


def squared(guess: Tensor, target: Tensor) -> Tensor:
    """``||guess - target||² / ||target||²``: 1 is what a zero gradient has.

    The scale keeps an optimizer's tolerances meaningful late in training.

    Example:
        >>> float(squared(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0])))
        0.25
    """
    length: Tensor = target.double().square().sum().float()
    return (guess - target).square().sum() / length


def cosine(guess: Tensor, target: Tensor) -> Tensor:
    """``1 - cos(guess, target)``; 1 when the guess is zero.

    Example:
        >>> float(cosine(torch.tensor([0.0, 3.0]), torch.tensor([1.0, 0.0])))
        1.0
    """
    lengths: Tensor = torch.linalg.vector_norm(guess) * torch.linalg.vector_norm(target)
    return 1 - (guess @ target) / lengths.clamp_min(torch.finfo(guess.dtype).tiny)


def total_variation(inputs: Tensor) -> Tensor:
    """Mean absolute difference of neighbors, summed over the axes after the channels.

    ``[n, c, h, w]`` and ``[n, c, d, h, w]``; 0 for what has no neighbors to be smooth with.

    Example:
        >>> float(total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])))
        1.0
    """
    if inputs.dim() < 4:
        return inputs.new_zeros(())
    along = [inputs.diff(dim=axis).abs() for axis in range(2, inputs.dim())]
    return torch.stack([part.mean() if part.numel() else part.sum() for part in along]).sum()
