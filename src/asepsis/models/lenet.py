"""LeNet-5, and its smooth relative that gradient inversion is studied on."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.models.building import demand, halved

IMAGES = frozenset({Kind.IMAGE, Kind.MULTILABEL_IMAGE})


@register("model", "lenet")
class LeNet:
    """LeNet-5 with ReLU and max pooling: two 5×5 convolutions and three linear layers.

    ``[n, c, h, w] -> [n, classes]``: convolution to 6 channels (padding 2), pool, to 16, pool,
    then 120, 84, classes. Height and width must be at least 16.

    Raises ConfigError for other shapes.

    Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proceedings of
    the IEEE 1998, section II (with today's ReLU, max pooling and linear output)

    Fidelity: own

    Tasks: image, multilabel-image

    Example:
        >>> sum(p.numel() for p in LeNet().build((1, 28, 28), 10).parameters())
        61706
    """

    kinds: ClassVar[frozenset[Kind]] = IMAGES

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network."""
        demand("lenet", input_shape, axes=(3,), smallest=16)
        channels, height, width = input_shape
        return nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * _pooled(height) * _pooled(width), 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )


def _pooled(size: int) -> int:
    return (size // 2 - 4) // 2


@register("model", "lenet-sigmoid")
class LeNetSigmoid:
    """The LeNet of gradient inversion: sigmoids, strides instead of pooling, wide weights.

    ``[n, c, h, w] -> [n, classes]``: three 5×5 convolutions with 12 channels and strides 2, 2, 1,
    sigmoid after each, linear. All weights and biases start uniform in ``[-spread, spread]``, so
    that gradients carry the input. Twice differentiable everywhere. Height and width must be at
    least 8.

    Raises ConfigError for other shapes.

    Source: Zhu, Liu and Han, Deep Leakage from Gradients, NeurIPS 2019, section 4

    Fidelity: own

    Tasks: image, multilabel-image

    Example:
        >>> sum(p.numel() for p in LeNetSigmoid().build((1, 28, 28), 10).parameters())
        13426
    """

    kinds: ClassVar[frozenset[Kind]] = IMAGES

    spread: Annotated[float, Field(gt=0, le=10)] = 0.5

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network."""
        demand("lenet-sigmoid", input_shape, axes=(3,), smallest=8)
        channels, height, width = input_shape
        module = nn.Sequential(
            nn.Conv2d(channels, 12, 5, stride=2, padding=2),
            nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, stride=2, padding=2),
            nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, padding=2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(12 * halved(height, 2) * halved(width, 2), classes),
        )
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -self.spread, self.spread)
        return module
