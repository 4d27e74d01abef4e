"""A convolutional critic: how real an image looks, and how much like each class."""

from __future__ import annotations

from itertools import pairwise, takewhile
from math import prod
from typing import Literal

from torch import Tensor, nn

from asepsis.models.building import demand

Norm = Literal["batch", "instance", "none"]

SMALLEST = 8
"""Smallest height and width of an image."""

FLOOR = 6
"""Maps are halved while both their extents are at least this, so that they end at 3 to 5."""

MOST = 8
"""Channels double up to this multiple of the first layer's."""

SLOPE = 0.2
DEVIATION = 0.02


class Critic(nn.Module):
    """High for real images: ``D(x)``, or for every class ``y`` at once ``D(x, y)``.

    ``[n, c, h, w] -> [n, max(1, classes)]``. Strided 4×4 convolutions with LeakyReLU(0.2) halve
    the maps while both extents are at least 6 (28 -> 14 -> 7 -> 3, 32 -> 16 -> 8 -> 4); channels
    double from ``width`` up to eight times as many. Of the last map ``f`` a linear layer sees
    every place (DCGAN's last convolution), and each class has a vector ``v`` compared with the
    sum over places (projection):
    ``D(x, y) = a · f + b + v_y · sum_places f``; without classes, the first two terms.

    ``norm`` stands after convolutions, but never the first: ``batch`` as published, whose running
    statistics belong to the critic and stay where it stays; ``instance``, with a learned scale
    and shift, knows no other sample of its batch, as a gradient penalty needs; or ``none``.
    ``instance`` leaves the last convolution out as well: normalized maps have the same mean in
    every image, and the classes would compare sums over places that hardly differ. Weights start
    normal(0, 0.02) as published; convolutions with no ``instance`` norm after them, all of them
    with ``none``, take He's start, or maps would fade from layer to layer.

    Source: Radford et al., Unsupervised Representation Learning with Deep Convolutional GANs,
    ICLR 2016, section 3; classes: Miyato and Koyama, cGANs with Projection Discriminator, ICLR
    2018, equation 3

    Fidelity: own

    Args:
        image: channels, height and width of one image, at least 8×8.
        classes: how many classes; 0 makes an unconditional critic.
        width: channels of the first layer (64 in the papers).
        norm: what stands after a convolution.

    Raises:
        ConfigError: the image is none, or too small.

    Example:
        >>> import torch
        >>> Critic((3, 28, 28), classes=7)(torch.zeros(2, 3, 28, 28)).shape
        torch.Size([2, 7])
    """

    def __init__(
        self,
        image: tuple[int, ...],
        classes: int = 0,
        width: int = 32,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        demand("a critic", image, axes=(3,), smallest=SMALLEST)
        times, extents = _halvings(image[1:])
        widths = [width * min(MOST, 2**level) for level in range(times)]
        self.body = _body([image[0], *widths], norm)
        self.real = nn.Linear(widths[-1] * prod(extents), 1)
        self.like = nn.Linear(widths[-1], classes, bias=False) if classes else None
        _start(self, norm)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[n, max(1, classes)]``."""
        maps = self.body(images)
        real: Tensor = self.real(maps.flatten(1))
        return real if self.like is None else real + self.like(maps.sum((2, 3)))


def _halvings(extents: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Return how often maps are halved, and what is left of them."""
    times = 0
    while min(extents) >= FLOOR:
        extents = tuple(extent // 2 for extent in extents)
        times += 1
    return times, extents


def _body(widths: list[int], norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = []
    last = len(widths) - 2
    for level, (wide_in, wide_out) in enumerate(pairwise(widths)):
        bare = level == 0 or (norm == "instance" and level == last)
        follows = [] if bare else _normalized(wide_out, norm)
        convolution = nn.Conv2d(wide_in, wide_out, 4, stride=2, padding=1, bias=not follows)
        layers += [convolution, *follows, nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def _normalized(width: int, norm: Norm) -> list[nn.Module]:
    if norm == "none":
        return []
    return [nn.BatchNorm2d(width) if norm == "batch" else nn.InstanceNorm2d(width, affine=True)]


def _start(critic: Critic, norm: Norm) -> None:
    fading = set() if norm == "batch" else _unnormalized(critic.body)
    for part in critic.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            if part in fading:
                nn.init.kaiming_normal_(part.weight, a=SLOPE)
            else:
                nn.init.normal_(part.weight, std=DEVIATION)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _unnormalized(body: nn.Sequential) -> set[nn.Module]:
    """Return the layers that no normalization follows, however far behind."""
    after = takewhile(lambda part: not isinstance(part, nn.InstanceNorm2d), reversed(body))
    return set(after)
