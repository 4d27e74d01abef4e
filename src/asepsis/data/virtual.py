"""Virtual hospitals: real sites, each divided into several."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.data.dataset import Dataset
from asepsis.data.partition import Least, Site
from asepsis.data.units import Units, deal
from asepsis.data.unusual import Assignment, Unusual


@register("partition", "virtual")
class Virtual:
    """Every real site becomes ``parts`` hospitals of different patients: ``center-A/1`` and so on.

    For attacks that need more hospitals than there are real ones. Within a site patients are dealt
    class by class, evenly, so its hospitals are alike, while sites differ as they really do.
    When a number of hospitals is asked for, it is a multiple of ``parts``, and the largest sites
    are kept. ``min_samples`` is the least of a hospital.
    ``unusual`` lists honest hospitals that are odd on purpose, by number: with ``only_class`` a
    specialist for it, with ``scanner`` (gain, contrast, blur, noise) another device.

    Raises ConfigError where the data know no sites, or fewer or smaller ones than asked for.

    Source: the data themselves; no paper

    Fidelity: own

    Example:
        >>> Virtual(parts=3).parts
        3
    """

    parts: Annotated[int, Field(ge=2, le=1000)] = 2
    min_samples: Least = 8
    unusual: tuple[Unusual, ...] = ()

    def assign(
        self, dataset: Dataset, hospitals: int | None, rng: np.random.Generator
    ) -> Assignment:
        """Return ``(name, positions)`` of every hospital."""
        if hospitals is not None and hospitals % self.parts:
            raise ConfigError(
                f"every site becomes {self.parts} hospitals",
                place="federation.hospitals",
                got=hospitals,
                fix=f'use a multiple of {self.parts}, or "all"',
            )
        sites = None if hospitals is None else hospitals // self.parts
        real = Site(min_samples=self.parts * self.min_samples).assign(dataset, sites, rng)
        units = Units.of_dataset(dataset)
        made: Assignment = []
        for name, index in real:
            mine = np.unique(units.of[index])
            inner = Units(mine, units.label[mine], units.split[mine], units.size[mine])
            even = np.full((int(inner.label.max()) + 1, self.parts), 1 / self.parts)
            owner = np.full(len(units), -1, np.int64)
            owner[mine] = deal(inner, even, rng)
            made += [(f"{name}/{k + 1}", units.samples(owner == k)) for k in range(self.parts)]
        return made
