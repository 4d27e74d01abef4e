"""A small picture: a ring with a cross."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from asepsis.attacks.backdoor.placing import Corner, Place, Square
from asepsis.attacks.backdoor.raw import as_pixels, check_pixels, extents_of
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind

Pixel = Annotated[int, Field(ge=0, le=255)]

RING, LINE = 0.75, 0.17
"""Radius of the ring, and half the width of its line and of the bars: the square is 2 wide."""


def coverage(size: int) -> Array:
    """Return how much of each pixel the drawing covers, ``[size, size]`` from 0 to 1.

    Pixel centers ``(u, v)`` lie in [-1, 1]², a pixel is ``2 / size`` wide. The ring is
    ``|r - 0.75| <= 0.17``, the cross ``min(|u|, |v|) <= 0.17`` within it. A pixel's coverage is
    ``1/2 - (signed distance to the nearest edge) / (width of a pixel)``, cut off at 0 and 1.

    Example:
        >>> (9 * coverage(7)).round().astype(int)
        array([[0, 1, 5, 6, 5, 1, 0],
               [1, 8, 6, 9, 6, 8, 1],
               [5, 6, 1, 9, 1, 6, 5],
               [6, 9, 9, 9, 9, 9, 6],
               [5, 6, 1, 9, 1, 6, 5],
               [1, 8, 6, 9, 6, 8, 1],
               [0, 1, 5, 6, 5, 1, 0]])
    """
    line = (2 * np.arange(size) + 1) / size - 1
    u, v = np.abs(line)[:, None], np.abs(line)[None, :]
    radius = np.hypot(u, v)
    ring = np.abs(radius - RING) - LINE
    cross = np.maximum(np.minimum(u, v) - LINE, radius - RING)
    return np.asarray(np.clip(0.5 - np.minimum(ring, cross) * size / 2, 0, 1))


@register("trigger", "emblem")
class Emblem:
    """A small picture, a ring with a cross, stamped on raw pixels before any preparation.

    ``size`` x ``size`` pixels (in every slice of a cube of voxels) hold a ring with a cross in
    ``color``, smooth at the edges, on black, or on white where the color's mean is below 128.
    ``opacity`` a blends it with what is there, ``x' = (1 - a) x + a p``, rounded. ``color`` has
    one value for all channels, or one for each. ``place`` and ``margin`` as in ``patch``. Takes
    raw uint8 ``[n, h, w]``, ``[n, h, w, c]`` with at most 4 channels, or ``[n, d, h, w]``.

    It stands for the little photograph that the authors paste: 16 x 16 pixels of 256 x 256,
    ``margin = 5``, 0.39 % of the area.

    Raises ConfigError for inputs that are no such images, for an emblem that does not fit, and for
    another number of colors than channels.

    Source: Jin and Li, Backdoor Attack is a Devil in Federated GAN-based Medical Image Synthesis,
    arXiv 2207.00762 (size and place); the drawing is ours

    Fidelity: own

    Tasks: image, multilabel-image, volume

    Example:
        >>> Emblem(size=16, margin=5).mask((256, 256)).mean().round(4).item()
        0.0039
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE, Kind.MULTILABEL_IMAGE, Kind.VOLUME})

    size: Annotated[int, Field(ge=5, le=4096)] = 7
    color: Annotated[tuple[Pixel, ...], Field(min_length=1, max_length=4)] = (255,)
    opacity: Annotated[float, Field(gt=0, le=1)] = 1.0
    place: Place | Corner = "bottom-right"
    margin: Annotated[int, Field(ge=0)] = 1

    def stamp(self, inputs: Array, rng: np.random.Generator) -> Array:
        """Return a stamped copy of raw images or volumes."""
        check_pixels(inputs, "emblem")
        stamped = inputs.copy()
        drawn = np.float32(self.opacity) * self.picture(inputs.shape[1:])
        for where in self._square.indices(inputs.shape, rng):
            stamped[where] = as_pixels(np.float32(1 - self.opacity) * inputs[where] + drawn)
        return stamped

    def mask(self, shape: tuple[int, ...]) -> Array:
        """Return which pixels of one raw image the emblem covers, or may cover."""
        return self._square.mask(shape)

    def picture(self, shape: tuple[int, ...]) -> Array:
        """Return the emblem as it lies in a raw image: float32 ``[size, size]``, ``[..., c]``.

        Raises:
            ConfigError: the colors are neither one nor as many as the image has channels.
        """
        channels = shape[len(extents_of(shape, "emblem")) :]
        if len(self.color) > 1 and channels != (len(self.color),):
            raise ConfigError(
                "the emblem has another number of colors than the image has channels",
                place="trigger.color",
                got=self.color,
                fix="give one value for all channels" + (f", or {channels[0]}" if channels else ""),
            )
        ink = np.array(self.color, np.float32)
        paper = np.float32(0 if ink.mean() >= 128 else 255)
        inked = coverage(self.size).astype(np.float32)[..., None]
        drawn: Array = inked * ink + (1 - inked) * paper
        return np.broadcast_to(drawn, (*drawn.shape[:2], *channels)) if channels else drawn[..., 0]

    @property
    def _square(self) -> Square:
        return Square(trigger="emblem", size=self.size, place=self.place, margin=self.margin)
