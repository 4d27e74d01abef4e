"""The protocol's local steps, simulated: which samples make which step, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from asepsis.core.threat import Learner
from asepsis.core.workshop import Recipe
from asepsis.training.batches import cuts


def turns(samples: int, recipe: Recipe) -> list[slice]:
    """Return which of a hospital's samples make up each local step.

    Every pass takes them in the same order. The order of the first pass says nothing (samples
    have no names); that later passes shuffle anew is not known to an attack, and is left out.

    Example:
        >>> [(t.start, t.stop) for t in turns(5, Recipe(0.1, 0.0, 0.0, 2, 4))]
        [(0, 2), (2, 5), (0, 2), (2, 5)]
    """
    one = cuts(samples, recipe.batch)
    passes = -(-recipe.steps // len(one))
    return (one * passes)[: recipe.steps]


def simulate(
    learner: Learner, row: Tensor, batches: Iterable[tuple[Tensor, Tensor]], recipe: Recipe
) -> Tensor:
    """Return the change of the parameters ``[parameters]`` after local SGD on these batches.

    ``v <- momentum v + g + weight_decay w;  w <- w - lr v``, differentiable in the batches, along
    the path through the weights too. A proximal term is not in the recipe and is left out; running
    statistics stay as they were, which training mode does not read.
    """
    size = learner.parameters
    start, rest = row[:size].detach(), row[size:].detach()
    weights, velocity = start, torch.zeros_like(start)
    for inputs, targets in batches:
        gradient = learner.gradient(torch.cat([weights, rest]), inputs, targets)[:size]
        velocity = recipe.momentum * velocity + gradient + recipe.weight_decay * weights
        weights = weights - recipe.lr * velocity
    return weights - start
