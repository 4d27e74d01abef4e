"""A bright (or dark) patch of pixels."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from asepsis.attacks.backdoor.placing import Corner, Place, Square
from asepsis.attacks.backdoor.raw import check_pixels
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind


@register("trigger", "patch")
class Patch:
    """A square patch of one gray value, stamped on raw pixels before any preparation.

    ``size`` x ``size`` pixels (a cube of voxels in a volume, in the last slices for ``bottom``)
    get ``value`` in every channel, ``margin`` pixels from the edge at ``place``. ``random`` draws
    a place for every sample, at least ``margin`` from every edge. A place of numbers is the
    patch's first row and column (slice first in a volume); there and in the center the margin
    plays no part. Takes raw uint8 ``[n, h, w]``, ``[n, h, w, c]`` with at most 4 channels, or
    ``[n, d, h, w]``.

    Raises ConfigError for inputs that are no such images, and for a patch that does not fit.

    Source: Gu et al., BadNets, arXiv 1708.06733, section 4.1

    Fidelity: own

    Tasks: image, multilabel-image, volume

    Example:
        >>> Patch(size=1, margin=0).stamp(np.zeros((1, 2, 2), np.uint8), np.random.default_rng(0))
        array([[[  0,   0],
                [  0, 255]]], dtype=uint8)
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE, Kind.MULTILABEL_IMAGE, Kind.VOLUME})

    size: Annotated[int, Field(ge=1)] = 3
    value: Annotated[int, Field(ge=0, le=255)] = 255
    place: Place | Corner = "bottom-right"
    margin: Annotated[int, Field(ge=0)] = 1

    def stamp(self, inputs: Array, rng: np.random.Generator) -> Array:
        """Return a stamped copy of raw images or volumes."""
        check_pixels(inputs, "patch")
        stamped = inputs.copy()
        for where in self._square.indices(inputs.shape, rng):
            stamped[where] = self.value
        return stamped

    def mask(self, shape: tuple[int, ...]) -> Array:
        """Return which pixels of one raw image the patch covers, or may cover."""
        return self._square.mask(shape)

    @property
    def _square(self) -> Square:
        return Square(trigger="patch", size=self.size, place=self.place, margin=self.margin)
