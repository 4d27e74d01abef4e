"""A first layer whose neurons sort samples into bins: planted weights, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.layout import Slot
from asepsis.core.threat import Learner

FAINT = 1e-4
"""Bins with less than this share of the strongest bin's gradient hold rounding, not samples."""
SLACK = 1e-3
"""How far outside its bin a sample may measure, as a share of the measurements' range."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Linear, ReLU, linear: the places in a row where an imprint is planted."""

    weight: Slot
    bias: Slot
    out_weight: Slot
    out_bias: Slot

    @property
    def bins(self) -> int:
        """How many neurons sort samples."""
        return self.weight.shape[0]


def block(learner: Learner, row: Tensor) -> Block:
    """Return the network's first two linear layers, with a ReLU between them.

    Raises:
        ConfigError: the first layer with weights does not read the sample, or none follows.
    """
    slots = {slot.name: slot for slot in learner.layout.slots}
    layers: list[tuple[str, nn.Module]] = []
    between = False
    for name, part in learner.copy(row).named_modules():
        between = between or (len(layers) == 1 and isinstance(part, nn.ReLU))
        if next(part.parameters(recurse=False), None) is not None:
            layers.append((name, part))
        if len(layers) == 2:
            break
    size = prod(learner.input_shape)
    linear = [(n, p) for n, p in layers if isinstance(p, nn.Linear) and p.bias is not None]
    if len(linear) == 2 and between and linear[0][1].in_features == size:
        names = [f"{name}.{part}" for name, _ in linear for part in ("weight", "bias")]
        return Block(*(slots[name] for name in names))
    raise ConfigError(
        "there is no place for an imprint: the model does not begin with linear, ReLU, linear",
        place="attack",
        fix='choose model = {name = "imprinted", model = "..."}, or mlp',
    )


@dataclass(frozen=True, slots=True, eq=False)
class Imprint:
    """What is measured of a sample (``direction``, ``[inputs]``), and where ``[bins]`` begin."""

    direction: Tensor
    edges: Tensor

    def planted(self, row: Tensor, where: Block, scale: float, push: float) -> Tensor:
        """Return the row with neuron i open for samples that measure more than ``edges[i]``.

        All neurons feed the next layer alike, by ``push``, so that a sample's loss pulls at all
        that are open with the same force.
        """
        made = row.clone()
        planted = scale * self.direction.expand(where.bins, -1)
        made[where.weight.where] = planted.flatten().to(made)
        made[where.bias.where] = (-scale * self.edges).to(made)
        made[where.out_weight.where] = push
        made[where.out_bias.where] = made[where.out_bias.where].clamp_min(0) + push
        return made

    def read(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the samples ``[k, inputs]`` behind gradients ``[bins, inputs]`` and ``[bins]``.

        Neighboring neurons differ by the samples that measure between their edges: the difference
        of their rows over that of their biases is one sample, if there is one. Only what measures
        inside its own bin is kept.
        """
        rows = weight - torch.cat([weight[1:], torch.zeros_like(weight[:1])])
        shares = bias - torch.cat([bias[1:], torch.zeros_like(bias[:1])])
        clear = shares.abs() > FAINT * shares.abs().max()
        found = rows[clear] / shares[clear, None]
        measured = found @ self.direction.to(found)
        low = self.edges.to(found)
        high = torch.cat([low[1:], low.new_full((1,), torch.inf)])
        slack = SLACK * (low[-1] - low[0])
        inside = (measured >= low[clear] - slack) & (measured <= high[clear] + slack)
        return found[inside]


def measured(bins: int, public: Tensor | None, direction: Tensor, spread: float) -> Imprint:
    """Put the bins' edges at quantiles of what samples measure.

    From public samples ``[n, ...]``, smoothed by a normal distribution fitted to them; without
    any, from a normal distribution around 0 with standard deviation ``spread``.
    """
    mean = 0.0
    if public is not None and len(public) > 1:
        values = public.flatten(1).double() @ direction.double().to(public.device)
        mean, spread = float(values.mean()), max(float(values.std()), 1e-12)
    chances = (np.arange(bins) + 0.5) / bins
    return Imprint(direction, torch.from_numpy(norm.ppf(chances) * spread + mean))
