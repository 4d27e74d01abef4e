"""A machine's share of a sweep: whole groups of runs, the same for whoever asks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from asepsis.core.errors import ConfigError
from asepsis.experiments.cells import grouped
from asepsis.experiments.plan import Cell, Plan
from asepsis.experiments.spec import digest

WRITTEN = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,5})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """Share number ``number`` (counted from 1) of ``count``."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/n``.

        Raises:
            ConfigError: it is none, or there is no such share.

        Example:
            >>> Shard.parse("2/8")
            Shard(number=2, count=8)
        """
        found = WRITTEN.fullmatch(text)
        if found is None or int(found[1]) > int(found[2]):
            raise ConfigError(
                "no share of a sweep", place="--shard", got=text, fix="write i/n with 1 <= i <= n"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        """Write it as it is asked for."""
        return f"{self.number}/{self.count}"

    def of(self, groups: Sequence[list[Cell]]) -> list[list[Cell]]:
        """Return this share of some groups; the shares of one sweep have every group once.

        The largest group goes first, each to the share that has the fewest runs so far. Groups
        are told apart by their hash, so that no order of the cells, and no machine, matters.
        """
        heaviest = sorted(groups, key=lambda group: (-len(group), group_hash(group)))
        runs = [0] * self.count
        mine = []
        for group in heaviest:
            least = runs.index(min(runs))
            runs[least] += len(group)
            if least == self.number - 1:
                mine.append(group)
        return mine

    def part(self, plan: Plan) -> Plan:
        """Return a plan of this share alone."""
        mine = self.of(grouped(plan.cells))
        return replace(plan, cells=tuple(cell for group in mine for cell in group))


def group_hash(group: Sequence[Cell]) -> str:
    """Return a name of a group of runs: a hash of theirs, in no order."""
    return digest(sorted(cell.digest for cell in group))
