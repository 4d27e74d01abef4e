"""Augmentation for critics that see few images: differentiable, of real and fake images alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from asepsis.core.errors import did_you_mean

Change = Callable[[Tensor, torch.Generator], Tensor]

MOVED = 1 / 8
"""Images are moved by up to this share of their side."""

CUT = 1 / 2
"""A hole has this share of an image's side."""


def color(images: Tensor, draws: torch.Generator) -> Tensor:
    """Change brightness by up to 0.5, saturation 0 to 2 times, contrast 0.5 to 1.5 times.

    Every image ``[n, c, h, w]`` for itself. Saturation is the distance of channels from their mean
    in a pixel, contrast that of pixels from the image's mean.
    """
    brighter, richer, starker = torch.rand(3, len(images), 1, 1, 1, generator=draws).to(images)
    images = images + (brighter - 0.5)
    images = _away(images, images.mean(1, keepdim=True), 2 * richer)
    return _away(images, images.mean((1, 2, 3), keepdim=True), starker + 0.5)


def _away(images: Tensor, center: Tensor, factor: Tensor) -> Tensor:
    return center + (images - center) * factor


def translation(images: Tensor, draws: torch.Generator) -> Tensor:
    """Move every image by up to an eighth of its side, both ways, and leave 0 where it was."""
    down, right = (_whole(-most, most, len(images), draws) for most in _most(images))
    return shifted(images, down, right)


def _most(images: Tensor) -> list[int]:
    return [int(side * MOVED + 0.5) for side in images.shape[2:]]


def shifted(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return images ``[n, c, h, w]`` moved by so many pixels ``[n]``; what comes in is 0.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> shifted(image, torch.tensor([1]), torch.tensor([-1])).tolist()
        [[[[0.0, 0.0], [2.0, 0.0]]]]
    """
    height, width = images.shape[2:]
    rows = (torch.arange(height) - down[:, None]).to(images.device)[:, None, :, None]
    columns = (torch.arange(width) - right[:, None]).to(images.device)[:, None, None, :]
    outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
    moved = images.gather(2, rows.clamp(0, height - 1).expand_as(images))
    moved = moved.gather(3, columns.clamp(0, width - 1).expand_as(images))
    return moved.masked_fill(outside, 0)


def cutout(images: Tensor, draws: torch.Generator) -> Tensor:
    """Make 0 of a box with half the image's sides, anywhere; it may reach beyond the border."""
    sides = [int(side * CUT + 0.5) for side in images.shape[2:]]
    top, left = (
        _whole(-(hole // 2), side - (hole + 1) // 2, len(images), draws)
        for side, hole in zip(images.shape[2:], sides, strict=True)
    )
    return holed(images, top, left, sides[0], sides[1])


def holed(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Return images ``[n, c, h, w]`` with 0 in a box, whose corner is told for each ``[n]``.

    Example:
        >>> holed(torch.ones(1, 1, 2, 3), torch.tensor([-1]), torch.tensor([1]), 2, 5).tolist()
        [[[[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]]]
    """
    rows = (torch.arange(images.shape[2]) - top[:, None]).to(images.device)[:, None, :, None]
    columns = (torch.arange(images.shape[3]) - left[:, None]).to(images.device)[:, None, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return images.masked_fill(inside, 0)


def _whole(low: int, high: int, n: int, draws: torch.Generator) -> Tensor:
    """Draw whole numbers from ``low`` to ``high``, both included: on the CPU."""
    return torch.randint(low, high + 1, (n,), generator=draws)


CHANGES: dict[str, Change] = {"color": color, "translation": translation, "cutout": cutout}


def known_policy(policy: str) -> str:
    """Return the policy without its blanks: names separated by commas, none of them twice.

    Raises:
        ValueError: an unknown name, or one that is there twice.

    Example:
        >>> known_policy("color, cutout")
        'color,cutout'
    """
    names = _names(policy)
    for name in names:
        if name not in CHANGES:
            raise ValueError(f"unknown augmentation '{name}'; {did_you_mean(name, CHANGES)}")
    if len(set(names)) < len(names):
        raise ValueError("an augmentation is named twice")
    return ",".join(names)


def _names(policy: str) -> list[str]:
    return [name.strip() for name in policy.split(",")] if policy.strip() else []


@dataclass(frozen=True, eq=False)
class DiffAugment:
    """Change images ``[n, c, h, w]`` in [-1, 1] at random before a critic sees them.

    Real and fake images alike, so that the generator does not learn the changes, and
    differentiable, so that it learns through them. Without a policy, nothing happens.

    Source: Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, NeurIPS 2020,
    section 3.2

    Args:
        policy: ``color``, ``translation``, ``cutout``, separated by commas, in order.
        draws: where the changes' parameters come from.

    Example:
        >>> augment = DiffAugment("translation,cutout", torch.Generator().manual_seed(0))
        >>> augment(torch.ones(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    policy: str
    draws: torch.Generator

    def __post_init__(self) -> None:
        known_policy(self.policy)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the images changed, each in its own way."""
        for name in _names(self.policy):
            images = CHANGES[name](images, self.draws)
        return images
