"""Layers that a style steers: modulated convolutions, noise per pixel, doubling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
GAIN = 2**0.5
"""Restores what LeakyReLU takes of a standard normal map's size."""

TINY = 1e-8


def modulated(maps: Tensor, weight: Tensor, styles: Tensor, *, demodulate: bool = True) -> Tensor:
    """Convolve every sample with a kernel of its own: ``weight`` scaled by its style.

    Kernel of sample ``i``: ``k = weight[o, c] styles[i, c]``; demodulated, ``k[o] / ||k[o]||``, so
    that standard normal maps stay of that size. Computed without making the kernels: as a
    convolution is linear, maps are scaled before it and after it, which at small maps took a
    quarter of the time of a grouped convolution on a CPU.

    Args:
        maps: ``[n, c, h, w]``.
        weight: ``[o, c, k, k]``, ``k`` odd.
        styles: ``[n, c]``.
        demodulate: whether every kernel gets norm 1.

    Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020,
    equations 1 to 3

    Example:
        >>> modulated(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.tensor([[3.0]]))
        tensor([[[[1.]]]])
    """
    made = F.conv2d(maps * styles[:, :, None, None], weight, padding=weight.shape[-1] // 2)
    if not demodulate:
        return made
    norms = styles.square() @ weight.square().sum((2, 3)).T
    return made * torch.rsqrt(norms + TINY)[:, :, None, None]


class Modulated(nn.Module):
    """A modulated convolution, and the affine map from ``w`` to its styles, 1 in the mean."""

    def __init__(
        self, wide_in: int, wide_out: int, kernel: int, w_dim: int, *, demodulate: bool
    ) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.style = nn.Linear(w_dim, wide_in)
        nn.init.normal_(self.style.weight, std=w_dim**-0.5)
        nn.init.ones_(self.style.bias)
        self.weight = nn.Parameter(torch.empty(wide_out, wide_in, kernel, kernel))
        nn.init.normal_(self.weight, std=(wide_in * kernel**2) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(wide_out))

    def forward(self, maps: Tensor, w: Tensor) -> Tensor:
        """Return maps ``[n, wide_out, h, w]`` for styles made of ``w`` ``[n, w_dim]``."""
        made = modulated(maps, self.weight, self.style(w), demodulate=self.demodulate)
        shifted: Tensor = made + self.bias[:, None, None]
        return shifted


class Noise(nn.Module):
    """Adds noise to every pixel: a fixed mixture of the entries of ``z``, its scale learned.

    ``noise[p] = sum_k z_k sign[k, p] / sqrt(z_dim)``, with signs drawn once for all networks of
    this shape: at every pixel standard normal over ``z``, another for every image, and the same
    whenever and wherever the same image is made. The signs are integers, which never travel.
    """

    signs: Tensor

    def __init__(self, z_dim: int, extents: tuple[int, int], layer: int) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(layer)
        bits = torch.randint(2, (z_dim, *extents), generator=draws, dtype=torch.int8)
        self.register_buffer("signs", 2 * bits - 1)
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor, z: Tensor) -> Tensor:
        """Return the maps with noise, the same in every channel."""
        scale = self.strength * len(self.signs) ** -0.5
        mixed = (scale * z) @ self.signs.flatten(1).to(z.dtype)
        noisy: Tensor = maps + mixed.view(len(z), 1, *self.signs.shape[1:])
        return noisy


class Styled(nn.Module):
    """A modulated 3×3 convolution, noise and LeakyReLU."""

    def __init__(
        self, wide_in: int, wide_out: int, w_dim: int, z_dim: int, at: tuple[int, int], layer: int
    ) -> None:
        super().__init__()
        self.convolution = Modulated(wide_in, wide_out, 3, w_dim, demodulate=True)
        self.noise = Noise(z_dim, at, layer)

    def forward(self, maps: Tensor, w: Tensor, z: Tensor) -> Tensor:
        """Return maps ``[n, wide_out, h, w]``."""
        return GAIN * F.leaky_relu(self.noise(self.convolution(maps, w), z), SLOPE)


def doubled(maps: Tensor) -> Tensor:
    """Double maps bilinearly: away from the edges, StyleGAN2's filter ``[1, 3, 3, 1]``.

    Example:
        >>> doubled(torch.tensor([[[[0.0, 4.0]]]]))[0, 0, 0].tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)
