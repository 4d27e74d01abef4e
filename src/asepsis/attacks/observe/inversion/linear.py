"""Linear layers that read a sample itself: their gradients are made of samples."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from asepsis.core.layout import Slot
from asepsis.core.threat import Learner

SMALL = 1e-5
"""Rows with less than this share of the largest bias gradient are rounding."""
ALIKE = 1e-3
"""Relative distance up to which two rows show one and the same sample."""


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """A linear layer with bias whose input is the sample: places in a row, name, width."""

    name: str
    weight: Slot
    bias: Slot

    @property
    def width(self) -> int:
        """How many neurons it has."""
        return self.weight.shape[0]

    def parts(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Return the layer's part of a row, float64: weights ``[width, inputs]`` and biases."""
        weight = row[self.weight.where].view(self.weight.shape)
        return weight.double(), row[self.bias.where].double()


def reader(learner: Learner, row: Tensor) -> Reader | None:
    """Return the network's first layer with weights if it is linear and reads the sample."""
    slots = {slot.name: slot for slot in learner.layout.slots}
    for name, part in learner.copy(row).named_modules():
        if next(part.parameters(recurse=False), None) is None:
            continue
        fits = isinstance(part, nn.Linear) and part.in_features == prod(learner.input_shape)
        prefix = f"{name}." if name else ""
        names = (f"{prefix}weight", f"{prefix}bias")
        if not fits or not all(key in slots for key in names):
            return None
        return Reader(name, slots[names[0]], slots[names[1]])
    return None


def only_sample(weight: Tensor, bias: Tensor) -> Tensor:
    """Return the sample ``[inputs]`` behind the gradient of a batch of one, by least squares.

    Every row is ``delta_i x`` and every bias ``delta_i``. Of a larger batch it is a mixture.

    Example:
        >>> only_sample(torch.tensor([[2.0, 4.0], [-1.0, -2.0]]), torch.tensor([2.0, -1.0]))
        tensor([1., 2.])
    """
    return bias @ weight / bias.square().sum()


def agreeing_samples(weight: Tensor, bias: Tensor, most: int) -> Tensor:
    """Return samples ``[k <= most, inputs]`` that at least two neurons show alike.

    A neuron that only one sample of the batch activates shows it: ``dW_i / db_i = x``. Mixtures
    differ from neuron to neuron, so rows that agree are samples; those shown most often come
    first.

    Example:
        >>> one, two = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
        >>> rows = torch.stack([one, 2 * one, two, -two, one + two])
        >>> agreeing_samples(rows, torch.tensor([1.0, 2.0, 1.0, -1.0, 2.0]), most=4)
        tensor([[1., 0.],
                [0., 3.]])
    """
    clear = bias.abs() > SMALL * bias.abs().max()
    shown = weight[clear] / bias[clear, None]
    strength = bias[clear].abs()
    found: list[tuple[int, Tensor]] = []
    free = torch.ones(len(shown), dtype=torch.bool, device=shown.device)
    for i in strength.argsort(descending=True, stable=True).tolist():
        if free[i]:
            gaps = torch.linalg.vector_norm(shown - shown[i], dim=1)
            alike = free & (gaps <= ALIKE * torch.linalg.vector_norm(shown[i]).clamp_min(1e-12))
            free &= ~alike
            if int(alike.sum()) > 1:
                found.append((int(alike.sum()), shown[i]))
    found.sort(key=lambda item: -item[0])
    best = [sample for _, sample in found[:most]]
    return torch.stack(best) if best else shown[:0]
