"""The U-Net, from one image to another."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.models.building import demand

Norm = Literal["group", "batch", "none"]
Width = Annotated[int, Field(ge=1, le=1024)]
GROUP = 2
HEAD = 0.2
"""Deviation of the head's first weights: with He's the tanh may saturate in the first steps."""
REACH, SLOPE = 1.7159, 2 / 3
"""LeCun's tanh, which is 1 at 1: black and white lie where it still has a slope."""


class _Block(nn.Sequential):
    """Two 3×3 convolutions, each with normalization and ReLU."""

    def __init__(self, wide_in: int, wide_out: int, norm: Norm) -> None:
        layers: list[nn.Module] = []
        for width in (wide_in, wide_out):
            convolution = nn.Conv2d(width, wide_out, 3, padding=1, bias=norm == "none")
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
            layers += [convolution, *_normalized(wide_out, norm), nn.ReLU()]
        super().__init__(*layers)


def _normalized(width: int, norm: Norm) -> list[nn.Module]:
    if norm == "none":
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(width)]
    return [nn.GroupNorm(width // GROUP if width % GROUP == 0 else 1, width)]


class _UNet(nn.Module):
    def __init__(self, channels: int, depth: int, norm: Norm) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _Block(before, after, norm) for before, after in zip([1, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            _Block(widths[level] + widths[level + 1], widths[level], norm)
            for level in reversed(range(depth))
        )
        self.head = nn.Conv2d(channels, 1, 1)
        nn.init.normal_(self.head.weight, std=HEAD)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return images ``[n, 1, h, w]``."""
        kept = [self.down[0](images)]
        for block in self.down[1:]:
            # Rounded up, so that no extent comes to nothing and none needs to be a power of two.
            kept.append(block(F.max_pool2d(kept[-1], 2, ceil_mode=True)))
        maps = kept.pop()
        for block in self.up:
            skip = kept.pop()
            maps = block(torch.cat([skip, F.interpolate(maps, size=skip.shape[2:])], dim=1))
        return REACH * torch.tanh(SLOPE * self.head(maps))


@register("model", "unet")
class UNet:
    """Two-dimensional U-Net from one image to another: 122,000 parameters.

    ``[n, 1, h, w] -> [n, 1, h, w]``, ``1.7159 tanh(2/3 x)`` at the end, so that images in [-1, 1]
    are well within reach: with tanh alone SGD stays at the mean image for long. On the way down
    ``depth`` times: a block of two 3×3 convolutions with ReLU, then maximum pooling, channels
    doubling from ``channels`` on; on the way up pixels are repeated, joined with the block of the
    same size, and go through a block. A 1×1 convolution makes the image. Any height and width:
    pooling rounds up. ``norm``: groups of 2 channels within one sample, which hospitals need not
    agree on; ``batch``, whose running statistics travel with the row; or none, which wants a
    fifth of the learning rate.

    Raises ConfigError for samples that are not one gray image.

    Source: Ronneberger, Fischer and Brox, U-Net, MICCAI 2015, figure 1 (with padded convolutions,
    normalization, repeated pixels); the end is that of LeCun et al., Efficient BackProp, 1998

    Fidelity: own

    Tasks: paired-image

    Example:
        >>> net = UNet(channels=4, depth=2).build((1, 30, 21), 0)
        >>> net(torch.zeros(2, 1, 30, 21)).shape
        torch.Size([2, 1, 30, 21])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.PAIRED_IMAGE})

    channels: Width = 8
    depth: Annotated[int, Field(ge=1, le=6)] = 3
    norm: Norm = "group"

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network; an image has no classes."""
        demand("unet", input_shape, axes=(3,))
        if input_shape[0] != 1:
            raise ConfigError(
                "unet takes gray images", place="model", got=f"{input_shape[0]} channels"
            )
        return _UNet(self.channels, self.depth, self.norm)
