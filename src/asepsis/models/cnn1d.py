"""A convolutional network for signals."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.models.building import demand, he

Width = Annotated[int, Field(ge=1, le=1024)]


@register("model", "cnn1d")
class Cnn1d:
    """Three strided convolutions over time and a linear head, for ECG beats and other signals.

    ``[n, channels, time] -> [n, classes]``: kernels of 7, 5 and 5 samples, stride 2, ReLU,
    ``widths`` channels, average pooling to 8 positions, linear. He initialization, no
    normalization, no dropout. At least 16 samples in time.

    Raises ConfigError for other shapes.

    Source: the usual small network for signals; no paper

    Fidelity: own

    Tasks: sequence

    Example:
        >>> sum(p.numel() for p in Cnn1d().build((1, 187), 5).parameters())
        15589
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.SEQUENCE})

    widths: tuple[Width, Width, Width] = (16, 32, 64)

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network."""
        demand("cnn1d", input_shape, axes=(2,), smallest=16)
        first, second, third = self.widths
        return he(
            nn.Sequential(
                nn.Conv1d(input_shape[0], first, 7, stride=2, padding=3),
                nn.ReLU(),
                nn.Conv1d(first, second, 5, stride=2, padding=2),
                nn.ReLU(),
                nn.Conv1d(second, third, 5, stride=2, padding=2),
                nn.ReLU(),
                nn.AdaptiveAvgPool1d(8),
                nn.Flatten(),
                nn.Linear(third * 8, classes),
            )
        )
