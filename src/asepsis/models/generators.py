"""Networks that make images, and the critic that a classifier becomes: what GANs are built of.

These are plain modules, which attacks use as well as the model ``dcgan``: whoever trains a GAN
builds them inside :func:`asepsis.core.rng.building_modules`.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.models.gan import Synthesizer

START = 8
"""Largest height and width of the first feature map."""

NARROWEST = 8
GROUP = 8


class Generator(Synthesizer):
    """Images from noise and, when there are classes, from the class wanted: ``G(z, y)``.

    ``z`` ``[n, z_dim]`` and labels int64 ``[n]`` become ``[n, channels, h, w]`` in [-1, 1]. A
    linear layer makes a small map (7×7 for 28×28) from ``z`` and a learned code of the class.
    Until the image fits, every pixel is doubled and a 3×3 convolution follows, channels halving
    from ``width`` down after the first; a 3×3 convolution and tanh end it, and the middle of the
    map is the image. Groups of channels are normalized within one sample: no statistics of other
    samples, nothing that differs between training and use. About 230,000 parameters at 28×28.

    Source: Radford et al., Unsupervised Representation Learning with Deep Convolutional GANs,
    ICLR 2016, section 3 (with doubled pixels
    instead of transposed convolutions, group normalization, a code for the class)

    Fidelity: own

    Args:
        image: channels, height and width of one image.
        classes: how many classes; 0 makes an unconditional generator, which takes no labels.
        z_dim: length of the noise.
        width: channels of the first map.

    Raises:
        ConfigError: the image is not ``(channels, height, width)``.

    Example:
        >>> generator = Generator((3, 28, 28), classes=7)
        >>> generator(torch.zeros(2, 64), torch.tensor([0, 6])).shape
        torch.Size([2, 3, 28, 28])
    """

    def __init__(
        self, image: tuple[int, ...], classes: int = 0, z_dim: int = 64, width: int = 32
    ) -> None:
        super().__init__(image, classes, z_dim)
        self.code = nn.Embedding(classes, z_dim) if classes else None
        times = doublings(max(image[1:]), START)
        widths = tapered(width, times)
        self.start = tuple(-(-extent // 2**times) for extent in image[1:])
        self.first = nn.Linear(z_dim * (2 if classes else 1), width * prod(self.start))
        self.body = _body(image[0], widths)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images ``[n, channels, h, w]``."""
        self.check(labels)
        if self.code is not None:
            z = torch.cat([z, self.code(labels)], dim=1)
        maps = self.first(z).view(len(z), -1, *self.start)
        return middle(torch.tanh(self.body(maps)), self.image[1:])


def doublings(size: int, start: int) -> int:
    """Return how often a first map of extent ``start`` or less is doubled to reach ``size``.

    As rarely as possible.

    Example:
        >>> [doublings(size, 8) for size in (8, 28, 32, 33)]
        [0, 2, 2, 3]
    """
    return max(0, (size - 1).bit_length() - (start - 1).bit_length())


def tapered(width: int, times: int) -> list[int]:
    """Return the channels of every map: they halve from the second doubling on, to 8 at least.

    Fewer than 8 stay as they are.

    Example:
        >>> tapered(32, 4), tapered(4, 2)
        ([32, 32, 16, 8, 8], [4, 4, 4])
    """
    return [width, *(max(min(NARROWEST, width), width >> k) for k in range(times))]


def _body(channels: int, widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = [_normalized(widths[0]), nn.ReLU()]
    for wide_in, wide_out in pairwise(widths):
        layers += [
            nn.Upsample(scale_factor=2),
            nn.Conv2d(wide_in, wide_out, 3, padding=1),
            _normalized(wide_out),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 3, padding=1))


def _normalized(width: int) -> nn.Module:
    return nn.GroupNorm(width // GROUP if width % GROUP == 0 else 1, width)


def middle(maps: Tensor, extents: tuple[int, ...]) -> Tensor:
    """Cut the middle out of maps.

    Example:
        >>> middle(torch.arange(4).view(1, 1, 1, 4), (1, 2)).flatten().tolist()
        [1, 2]
    """
    top, left = ((have - want) // 2 for have, want in zip(maps.shape[2:], extents, strict=True))
    return maps[:, :, top : top + extents[0], left : left + extents[1]]


def with_fake_class(classifier: nn.Module) -> nn.Module:
    """Return a copy of a classifier with one class more: "fake", the last one.

    Everything is copied; the new class starts as the mean of the others' weights and bias, so
    that it is nobody's favorite.

    Raises:
        ConfigError: the model has no linear head.

    Example:
        >>> with_fake_class(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))(torch.zeros(1, 4)).shape
        torch.Size([1, 3])
    """
    critic = copy.deepcopy(classifier)
    name, head = head_of(critic)
    # Built without drawing: every number of the new layer is written below.
    with torch.device("meta"):
        wider = nn.Linear(head.in_features, head.out_features + 1, head.bias is not None)
    wider = wider.to_empty(device=head.weight.device)
    with torch.no_grad():
        wider.weight.copy_(torch.cat([head.weight, head.weight.mean(0, keepdim=True)]))
        if head.bias is not None:
            wider.bias.copy_(torch.cat([head.bias, head.bias.mean(0, keepdim=True)]))
    if not name:
        return wider
    parent, _, last = name.rpartition(".")
    setattr(critic.get_submodule(parent), last, wider)
    return critic


def head_of(module: nn.Module) -> tuple[str, nn.Linear]:
    """Return name and layer of a classifier's head: the linear layer that was registered last.

    Raises:
        ConfigError: the model has no linear layer.

    Example:
        >>> head_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4)))[0]
        '2'
    """
    found = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    if not found:
        raise ConfigError(
            "this attack needs a network that ends in a linear layer",
            place="model",
            got=type(module).__name__,
            fix="choose small-cnn, lenet, mlp or cnn1d",
        )
    return found[-1]
