"""A convolutional network small enough to federate on a laptop."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.models.building import demand, he

Width = Annotated[int, Field(ge=1, le=1024)]
SMALLEST = 8


@register("model", "small-cnn")
class SmallCnn:
    """Three strided 3×3 convolutions and a linear head: about 25,000 parameters at 28×28.

    ``[n, c, h, w] -> [n, classes]`` (or ``[n, c, d, h, w]``, with 3×3×3 kernels): convolutions of
    stride 2 with ReLU and ``widths`` channels, average pooling to 4×4 (4×4×4), linear. He
    initialization, no normalization, no dropout. Every extent must be at least 8.

    Raises ConfigError for other shapes.

    Source: the usual small network; no paper

    Fidelity: own

    Tasks: image, multilabel-image, volume

    Example:
        >>> sum(p.numel() for p in SmallCnn().build((1, 28, 28), 2).parameters())
        25346
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE, Kind.MULTILABEL_IMAGE, Kind.VOLUME})

    widths: tuple[Width, Width, Width] = (16, 32, 64)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network."""
        demand("small-cnn", input_shape, axes=(3, 4), smallest=SMALLEST)
        axes = len(input_shape) - 1
        convolution = nn.Conv2d if axes == 2 else nn.Conv3d
        pool = nn.AdaptiveAvgPool2d(4) if axes == 2 else nn.AdaptiveAvgPool3d(4)
        layers: list[nn.Module] = []
        for wide_in, wide_out in zip((input_shape[0], *self.widths), self.widths, strict=False):
            layers += [convolution(wide_in, wide_out, 3, stride=2, padding=1), nn.ReLU()]
        head = nn.Linear(self.widths[-1] * 4**axes, classes)
        return he(nn.Sequential(*layers, pool, nn.Flatten(), head))
