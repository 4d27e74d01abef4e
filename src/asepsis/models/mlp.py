"""Networks for tables: logistic regression and the multilayer perceptron."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from asepsis.core.registry import register
from asepsis.core.samples import Kind

Width = Annotated[int, Field(ge=1, le=65536)]
FLAT = frozenset({Kind.TABLE, Kind.SEQUENCE, Kind.IMAGE, Kind.MULTILABEL_IMAGE, Kind.VOLUME})


@register("model", "mlp")
class Mlp:
    """Multilayer perceptron with ReLU; ``hidden`` lists the widths of its hidden layers.

    ``[n, ...] -> [n, classes]``; a sample with several axes is flattened.

    Source: the usual network for tables; no paper

    Fidelity: own

    Tasks: table, sequence, image, multilabel-image, volume

    Example:
        >>> Mlp(hidden=(8,)).build((30,), 2)
        Sequential(
          (0): Flatten(start_dim=1, end_dim=-1)
          (1): Linear(in_features=30, out_features=8, bias=True)
          (2): ReLU()
          (3): Linear(in_features=8, out_features=2, bias=True)
        )
    """

    kinds: ClassVar[frozenset[Kind]] = FLAT

    hidden: tuple[Width, ...] = (64, 32)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network."""
        layers: list[nn.Module] = [nn.Flatten()]
        for wide_in, wide_out in pairwise((prod(input_shape), *self.hidden, classes)):
            layers += [nn.Linear(wide_in, wide_out), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


@register("model", "logistic")
class Logistic:
    """Logistic regression: one linear layer, ``softmax(x W + b)``.

    ``[n, ...] -> [n, classes]`` (logits); a sample with several axes is flattened.

    Source: the usual linear model; no paper

    Fidelity: own

    Tasks: table, sequence, image, multilabel-image, volume

    Example:
        >>> sum(p.numel() for p in Logistic().build((30,), 2).parameters())
        62
    """

    kinds: ClassVar[frozenset[Kind]] = FLAT

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the model."""
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), classes))
