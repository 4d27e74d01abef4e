"""Module <-> flat row: shared parameters first, then shared float buffers.

Integer buffers (BatchNorm's counters) and whatever is declared local never travel. Because float
buffers are part of the row, every screen, rule, clip and hash covers them too. What is local (a
hospital's own critic, say) stays at its hospital from round to round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor's place in the row."""

    name: str
    shape: tuple[int, ...]
    start: int
    parameter: bool

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return prod(self.shape)

    @property
    def where(self) -> slice:
        """The columns of the row that hold this tensor."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True, slots=True)
class Layout:
    """The order of a module's shared tensors in a row of ``dim`` float32 coordinates.

    ``local`` names the tensors that are declared local, buffers included.

    Example:
        >>> layout = Layout.of(nn.BatchNorm1d(3))
        >>> layout.dim, layout.parameters, [slot.name for slot in layout.slots]
        (12, 6, ['weight', 'bias', 'running_mean', 'running_var'])
    """

    slots: tuple[Slot, ...]
    local: tuple[str, ...] = ()

    @classmethod
    def of(cls, module: nn.Module, local: tuple[str, ...] = ()) -> Layout:
        """Read the layout off a module; names that start with an entry of ``local`` stay home."""
        slots: list[Slot] = []
        start = 0
        for name, tensor, parameter in _shared(module, local):
            slot = Slot(name, tuple(tensor.shape), start, parameter)
            slots.append(slot)
            start += slot.size
        kept = tuple(name for name in _tensors(module) if local and name.startswith(local))
        return cls(tuple(slots), kept)

    @property
    def dim(self) -> int:
        """Length of a row."""
        return self.slots[-1].where.stop if self.slots else 0

    @property
    def parameters(self) -> int:
        """How many leading coordinates are parameters; the rest are buffers."""
        return sum(slot.size for slot in self.slots if slot.parameter)

    def flatten(self, module: nn.Module) -> Tensor:
        """Copy the module's shared tensors into a new row ``[dim]``."""
        tensors = _tensors(module)
        if not self.slots:
            return torch.empty(0)
        return torch.cat([tensors[slot.name].detach().reshape(-1).float() for slot in self.slots])

    def load(self, module: nn.Module, row: Tensor) -> None:
        """Copy a row into the module. Copies: the module never aliases the row."""
        tensors = _tensors(module)
        with torch.no_grad():
            for slot in self.slots:
                tensors[slot.name].copy_(row[slot.where].view(slot.shape))

    def views(self, row: Tensor) -> dict[str, Tensor]:
        """Name the parts of a row, as views, for ``torch.func.functional_call``."""
        return {slot.name: row[slot.where].view(slot.shape) for slot in self.slots}

    def kept(self, module: nn.Module) -> dict[str, Tensor]:
        """Copy the module's local tensors."""
        tensors = _tensors(module)
        return {name: tensors[name].detach().clone() for name in self.local}


def _shared(module: nn.Module, local: tuple[str, ...]) -> Iterator[tuple[str, Tensor, bool]]:
    for name, parameter in module.named_parameters():
        if not name.startswith(local or ("\0",)):
            yield name, parameter, True
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point() and not name.startswith(local or ("\0",)):
            yield name, buffer, False


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())
