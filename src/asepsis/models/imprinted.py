"""A network with a wide linear block in front, which a malicious server can read samples off."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from asepsis.core.registry import build, register
from asepsis.core.samples import Kind


class Imprint(nn.Module):
    """``x + decode(relu(encode(x)))`` on flattened samples; the identity as long as decode is 0."""

    def __init__(self, size: int, bins: int) -> None:
        super().__init__()
        self.encode = nn.Linear(size, bins)
        self.relu = nn.ReLU()
        self.decode = nn.Linear(bins, size)
        nn.init.zeros_(self.decode.weight)
        nn.init.zeros_(self.decode.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs of the same shape."""
        change: Tensor = self.decode(self.relu(self.encode(inputs.flatten(1))))
        return inputs + change.view_as(inputs)


@register("model", "imprinted")
class Imprinted:
    """Any model behind an imprint block: linear, ReLU, linear, added to the sample itself.

    ``[n, ...] -> model(x + D relu(E x + e) + d)``, E ``[bins, size]``, D ``[size, bins]`` with
    size the values of one sample. D and d start at 0, so that at first the model is ``model``
    itself. An architecture that a malicious server proposes: honest weights show nothing unusual,
    and those of ``robbing-the-fed`` read samples off the first gradient. ``model`` is a name or a
    table with options.

    Raises what the inner model raises.

    Source: Fowl et al., Robbing the Fed, ICLR 2022, section 4 (imprint module)

    Fidelity: paper

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> made = Imprinted(model="logistic", bins=4).build((1, 8, 8), 2)
        >>> sum(p.numel() for p in made.parameters())
        710
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    model: str | dict[str, Any] = "mlp"
    bins: Annotated[int, Field(ge=2, le=65536)] = 128

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network."""
        inner: nn.Module = build("model", self.model, "model.model").build(input_shape, classes)
        return nn.Sequential(Imprint(prod(input_shape), self.bins), inner)
