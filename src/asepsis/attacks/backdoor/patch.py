"""A bright (or dark) patch of pixels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind

Place = Literal["bottom-right", "bottom-left", "top-left", "top-right", "center"]
MOST_CHANNELS = 4


@register("trigger", "patch")
class Patch:
    """A square patch of one gray value, stamped on raw pixels before any preparation.

    ``size`` x ``size`` pixels (a cube of voxels in a volume, in the last slices for ``bottom``)
    get ``value`` in every channel, ``margin`` pixels from the edge at ``place``; in the center
    there is no margin. Takes raw uint8 ``[n, h, w]``, ``[n, h, w, c]`` with at most 4 channels,
    or ``[n, d, h, w]``.

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
    place: Place = "bottom-right"
    margin: Annotated[int, Field(ge=0)] = 1

    def stamp(self, inputs: Array, rng: np.random.Generator) -> Array:
        """Return a stamped copy of raw images or volumes."""
        if inputs.dtype != np.uint8:
            raise ConfigError(
                "the patch trigger stamps raw pixels",
                place="trigger",
                got=str(inputs.dtype),
                fix="give uint8 images, or choose another trigger",
            )
        stamped = inputs.copy()
        stamped[:, self.mask(inputs.shape[1:])] = self.value
        return stamped

    def mask(self, shape: tuple[int, ...]) -> Array:
        """Return which pixels of one raw image the patch covers."""
        extents = shape[:-1] if len(shape) == 3 and shape[-1] <= MOST_CHANNELS else shape
        if len(extents) not in (2, 3):
            raise ConfigError(
                "the patch trigger needs images or volumes",
                place="trigger",
                got=shape,
                fix="choose feature-combination for tables or waveform for sequences",
            )
        mask = np.zeros(shape, dtype=bool)
        mask[tuple(self._slice(axis, extents) for axis in range(len(extents)))] = True
        return mask

    def _slice(self, axis: int, extents: tuple[int, ...]) -> slice:
        extent, centered = extents[axis], self.place == "center"
        if self.size + (0 if centered else self.margin) > extent:
            raise ConfigError(
                "the patch does not fit into the image",
                place="trigger.size",
                got=self.size,
                fix=f"the image has {'×'.join(map(str, extents))} pixels; margin is {self.margin}",
            )
        if centered:
            start = (extent - self.size) // 2
        elif self._at_end(columns=axis == len(extents) - 1):
            start = extent - self.margin - self.size
        else:
            start = self.margin
        return slice(start, start + self.size)

    def _at_end(self, *, columns: bool) -> bool:
        return self.place.endswith("right") if columns else self.place.startswith("bottom")
