"""A generator whose noise, seen as a style, steers every convolution."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.registry import register
from asepsis.models.gan import GanOptions, Synthesizer, Width
from asepsis.models.generators import NARROWEST, doublings, middle
from asepsis.models.style_layers import SLOPE, TINY, Modulated, Styled, doubled

START = 4
"""Largest height and width of the learned constant."""

BUDGET = 8192
"""Maps of side ``s`` have at most this over ``s`` channels: a quarter of StyleGAN2's."""


class _Mapping(nn.Module):
    """From noise and class to ``w``: both normalized, joined, through linear layers."""

    def __init__(self, z_dim: int, classes: int, w_dim: int, layers: int) -> None:
        super().__init__()
        self.code = nn.Embedding(classes, z_dim) if classes else None
        widths = [z_dim * (2 if classes else 1), *[w_dim] * layers]
        self.body = nn.Sequential()
        for wide_in, wide_out in pairwise(widths):
            linear = nn.Linear(wide_in, wide_out)
            nn.init.kaiming_normal_(linear.weight, a=SLOPE)
            nn.init.zeros_(linear.bias)
            self.body.extend([linear, nn.LeakyReLU(SLOPE)])

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        known = _normalized(z)
        if self.code is not None:
            known = torch.cat([known, _normalized(self.code(labels))], dim=1)
        made: Tensor = self.body(known)
        return made


def channels(width: int, side: int) -> int:
    """Return the channels of maps of this side: ``width`` while they are small, then fewer.

    ``min(width, max(8, 8192 // side))``: full up to a side of ``8192 / width``.

    Example:
        >>> [channels(64, side) for side in (4, 64, 128, 256)]
        [64, 64, 64, 32]
        >>> [channels(256, side) for side in (4, 32, 64, 128, 256)]
        [256, 256, 128, 64, 32]
    """
    return min(width, max(NARROWEST, BUDGET // side))


def _normalized(z: Tensor) -> Tensor:
    return z * torch.rsqrt(z.square().mean(1, keepdim=True) + TINY)


class StyleGenerator(Synthesizer):
    """Images from styles: ``G(z, y)``, after StyleGAN2.

    A mapping network makes ``w`` of normalized noise and a normalized code of the class. A
    learned constant of at most 4×4 goes through modulated convolutions, one at 4×4 and two at
    every size up to the image's, each followed by noise and LeakyReLU; at every size a modulated
    1×1 convolution adds to the image, which is doubled on its way up. Its middle, through tanh,
    is the result. Maps of side ``s`` have ``min(width, max(8, 8192 // s))`` channels: narrower
    generators keep their width up to large sizes, wide ones taper (:func:`channels`).

    Left out: mixing of styles; truncation; path length regularization; equalized learning rates
    and the mapping's lower one (kernels are demodulated, so that their scale does not matter, and
    plain starts take the trainer's Adam). Of the training around it: R1, a residual critic with
    minibatch standard deviation, adaptive augmentation (the code for the class is all that is used
    of that paper). Noise per pixel follows from ``z`` and is drawn from nothing else.

    Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020,
    section 2 and figure 7; classes: Karras et al., Training Generative Adversarial Networks with
    Limited Data, NeurIPS 2020

    Fidelity: own

    Args:
        image: channels, height and width of one image.
        classes: how many classes; 0 makes an unconditional generator, which takes no labels.
        z_dim: length of the noise.
        w_dim: length of ``w``.
        width: most channels of a map.
        layers: linear layers of the mapping network.

    Raises:
        ConfigError: the image is not ``(channels, height, width)``.

    Example:
        >>> generator = StyleGenerator((1, 16, 16), classes=2, width=16)
        >>> generator(torch.zeros(3, 64), torch.tensor([0, 1, 1])).shape
        torch.Size([3, 1, 16, 16])
    """

    def __init__(
        self,
        image: tuple[int, ...],
        classes: int = 0,
        z_dim: int = 64,
        w_dim: int = 128,
        width: int = 64,
        layers: int = 4,
    ) -> None:
        super().__init__(image, classes, z_dim)
        times = doublings(max(image[1:]), START)
        height, wide = (-(-extent // 2**times) for extent in image[1:])
        widths = [channels(width, START << level) for level in range(times + 1)]
        self.mapping = _Mapping(z_dim, classes, w_dim, layers)
        self.constant = nn.Parameter(torch.empty(width, height, wide))
        nn.init.normal_(self.constant)
        self.styled, self.colors = nn.ModuleList(), nn.ModuleList()
        for level, (wide_in, wide_out) in enumerate(pairwise([width, *widths])):
            at = (height << level, wide << level)
            pairs = [(wide_in, wide_out), (wide_out, wide_out)] if level else [(width, width)]
            for before, after in pairs:
                layer = len(self.styled)
                self.styled.append(Styled(before, after, w_dim, z_dim, at, layer))
            self.colors.append(Modulated(wide_out, image[0], 1, w_dim, demodulate=False))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images ``[n, channels, h, w]``."""
        self.check(labels)
        w = self.mapping(z, labels)
        maps = self.styled[0](self.constant.expand(len(z), -1, -1, -1), w, z)
        picture = self.colors[0](maps, w)
        for level, color in enumerate(self.colors[1:], start=1):
            maps = self.styled[2 * level - 1](doubled(maps), w, z)
            maps = self.styled[2 * level](maps, w, z)
            picture = doubled(picture) + color(maps, w)
        return middle(torch.tanh(picture), self.image[1:])


@register("model", "style-gan")
class StyleGan(GanOptions):
    """StyleGAN2-like generator and a convolutional critic: 416,779 and 167,073 parameters at 32×32.

    Asked for outputs, the critic answers: ``[n, c, h, w] -> [n, classes]``, high for real and,
    when ``conditional``, for real of that class; ``[n, 1]`` when not. Images have any channels and
    at least 8 pixels a side; the design pays from 64 on. The generator is
    :class:`StyleGenerator` (noise ``z_dim``, styles ``w_dim``, channels ``width``, a mapping of
    ``layers``), the critic that of ``dcgan``, with its options ``critic_width`` and ``norm``.
    ``travels``: with ``generator``, the critic stays at its hospital.

    ``width`` 64 is what a CPU can train at 64×64: 515,470 parameters against the critic's 694,177.
    With a GPU take 256, and ``critic_width`` 64: 5.07 million against 2.76 at 64×64, 5.26 against
    11.2 at 256×256 (in gray, two classes). Same seed, same weights on a CPU alone: the gradient of
    bilinear doubling is summed in no fixed order on GPUs.

    Raises ConfigError for samples that are not images.

    Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020,
    section 2 and figure 7 (with a convolutional critic instead of a residual one)

    Fidelity: own

    Tasks: image

    Example:
        >>> gan = StyleGan().build((1, 32, 32), 2)
        >>> [sum(p.numel() for p in part.parameters()) for part in (gan.generator, gan.critic)]
        [416779, 167073]
    """

    w_dim: Width = 128
    width: Width = 64
    layers: Annotated[int, Field(ge=1, le=16)] = 4

    def _generator(self, image: tuple[int, ...], classes: int) -> Synthesizer:
        return StyleGenerator(image, classes, self.z_dim, self.w_dim, self.width, self.layers)
