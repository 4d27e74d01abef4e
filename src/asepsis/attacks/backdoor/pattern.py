"""A patch of pixels with a value each: what an optimizer draws."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from asepsis.attacks.backdoor.placing import Corner, Square
from asepsis.attacks.backdoor.raw import check_pixels, extents_of
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind

FixedPlace = Literal["bottom-right", "bottom-left", "top-left", "top-right", "center"]
Pixel = Annotated[int, Field(ge=0, le=255)]


@register("trigger", "pattern")
class Pattern:
    """A square patch whose pixels are given one by one, stamped on raw images.

    ``size`` x ``size`` pixels at ``place``, ``margin`` from the edge (a place of numbers is the
    patch's first row and column) get ``values``: one for all, one for each pixel, or one for each
    pixel and channel; row by row, channels innermost. Takes raw uint8 ``[n, h, w]`` or
    ``[n, h, w, c]`` with at most 4 channels.

    Raises ConfigError for inputs that are no such images, for a patch that does not fit, and for
    another number of values.

    Source: Zhang et al., A3FL, NeurIPS 2023, and its code (place and size)

    Fidelity: own

    Tasks: image, multilabel-image

    Example:
        >>> pattern = Pattern(size=2, values=(1, 2, 3, 4), margin=0)
        >>> pattern.stamp(np.zeros((1, 2, 3), np.uint8), np.random.default_rng(0))
        array([[[1, 2, 0],
                [3, 4, 0]]], dtype=uint8)
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE, Kind.MULTILABEL_IMAGE})

    size: Annotated[int, Field(ge=1, le=256)] = 5
    values: Annotated[tuple[Pixel, ...], Field(min_length=1)] = (128,)
    place: FixedPlace | Corner = "top-left"
    margin: Annotated[int, Field(ge=0)] = 2

    def stamp(self, inputs: Array, rng: np.random.Generator) -> Array:
        """Return a stamped copy of raw images."""
        check_pixels(inputs, "pattern")
        mask = self.mask(inputs.shape[1:])
        stamped = inputs.copy()
        stamped[:, mask] = self.spread(int(mask.sum()))
        return stamped

    def mask(self, shape: tuple[int, ...]) -> Array:
        """Return which pixels of one raw image the patch covers."""
        extents_of(shape, "pattern", volumes=False)
        square = Square(trigger="patch", size=self.size, place=self.place, margin=self.margin)
        return square.mask(shape)

    def spread(self, elements: int) -> Array:
        """Return one value, uint8, for each of so many elements.

        Raises:
            ConfigError: the number of values does not fit.
        """
        values = np.array(self.values, dtype=np.uint8)
        if len(values) not in (1, self.size**2, elements):
            raise ConfigError(
                "the pattern has another number of pixels than values",
                place="trigger.values",
                got=len(values),
                fix=f"give 1, {self.size**2} or {elements} values",
            )
        return np.repeat(values, elements // len(values))
