"""Where a square trigger lies in a raw image or volume: at a named place, a given one, or any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from asepsis.attacks.backdoor.raw import extents_of
from asepsis.core.errors import ConfigError
from asepsis.core.samples import Array

Place = Literal["bottom-right", "bottom-left", "top-left", "top-right", "center", "random"]
Corner = tuple[Annotated[int, Field(ge=0)], ...]
Where = tuple[int | slice, ...]
"""An index into raw samples ``[n, ...]``."""


@dataclass(frozen=True, kw_only=True)
class Square:
    """A square of ``size`` x ``size`` pixels, a cube in a volume (its last slices for ``bottom``).

    It lies ``margin`` pixels from the edge at ``place``; ``random`` draws a place for every
    sample, at least ``margin`` from every edge. A place of numbers is the first row and column
    (slice first in a volume); there and in the center the margin plays no part. ``trigger`` names
    in errors what is placed.

    Example:
        >>> square = Square(trigger="patch", size=2, place="top-right", margin=1)
        >>> next(square.indices((5, 8, 9), np.random.default_rng(0)))
        (slice(None, None, None), slice(1, 3, None), slice(6, 8, None))
    """

    trigger: str
    size: int
    place: Place | Corner
    margin: int

    def indices(self, shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[Where]:
        """Yield where the square lies in samples ``[n, ...]``: once for all, or one by one."""
        reach = self._reach(shape[1:])
        if self.place != "random":
            yield (slice(None), *(slice(low, low + self.size) for low, _ in reach))
            return
        for i in range(shape[0]):
            starts = [int(rng.integers(low, high + 1)) for low, high in reach]
            yield (i, *(slice(start, start + self.size) for start in starts))

    def mask(self, shape: tuple[int, ...]) -> Array:
        """Return which elements of one raw sample the square covers, or may cover."""
        mask = np.zeros(shape, dtype=bool)
        mask[tuple(slice(low, high + self.size) for low, high in self._reach(shape))] = True
        return mask

    def _reach(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Return the lowest and the highest start of the square along every axis."""
        extents = extents_of(shape, self.trigger)
        if isinstance(self.place, tuple) and len(self.place) != len(extents):
            raise ConfigError(
                f"the place of the {self.trigger} needs one number for each axis",
                place="trigger.place",
                got=self.place,
                fix=f"the image has {len(extents)} axes",
            )
        return [self._starts(axis, extents) for axis in range(len(extents))]

    def _starts(self, axis: int, extents: tuple[int, ...]) -> tuple[int, int]:
        extent = extents[axis]
        lowest, highest = self.margin, extent - self.margin - self.size
        if isinstance(self.place, tuple):
            lowest = highest = self.place[axis]
        elif self.place == "center":
            lowest = highest = (extent - self.size) // 2
        elif self.place != "random":
            at_end = self._at_end(columns=axis == len(extents) - 1)
            lowest = highest = highest if at_end else lowest
        if lowest < 0 or highest < lowest or highest + self.size > extent:
            raise ConfigError(
                f"the {self.trigger} does not fit into the image",
                place="trigger.size",
                got=self.size,
                fix=f"the image has {'×'.join(map(str, extents))} pixels; margin is {self.margin}",
            )
        return lowest, highest

    def _at_end(self, *, columns: bool) -> bool:
        assert isinstance(self.place, str)
        return self.place.endswith("right") if columns else self.place.startswith("bottom")
