"""Tables as plain values: a template or a terminal lays them out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One table cell: its text, what it is sorted by, a second line, its tone."""

    text: str
    order: float | str = ""
    hint: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Grid:
    """A table: heads, rows, and whether it is sorted by a click."""

    heads: list[str]
    rows: list[list[Cell]]
    caption: str = ""


def parted(grid: Grid, apart: Collection[str], keys: int = 2) -> tuple[Grid, Grid]:
    """Put some columns into a grid of their own; the first ones name the rows of both.

    Example:
        >>> one, two = parted(Grid(["who", "a", "b"], []), {"b"}, keys=1)
        >>> one.heads, two.heads
        (['who', 'a'], ['who', 'b'])
    """
    first = [i for i, head in enumerate(grid.heads) if i < keys or head not in apart]
    second = [i for i, head in enumerate(grid.heads) if i < keys or head in apart]
    made = [
        Grid([grid.heads[i] for i in some], [[row[i] for i in some] for row in grid.rows])
        for some in (first, second)
    ]
    return made[0], made[1] if len(second) > keys else Grid([], [])
