"""Rounds before an attack starts: how many were played, and how many another run had played."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asepsis.core.errors import AsepsisError
from asepsis.defenses.stack import build_pipeline
from asepsis.experiments.kept import reused_in
from asepsis.experiments.plan import Cell
from asepsis.experiments.spec import Experiment
from asepsis.experiments.store import Line, rounds_of


@dataclass(frozen=True)
class Saving:
    """Rounds before the attack: those that were played, and those that were reused."""

    played: int = 0
    reused: int = 0

    def __add__(self, other: Saving) -> Saving:
        return Saving(self.played + other.played, self.reused + other.reused)

    def __bool__(self) -> bool:
        return self.played + self.reused > 0

    def __str__(self) -> str:
        """Say it in a line.

        Example:
            >>> str(Saving(1200, 8400))
            'rounds before the attack: 1,200 played, 8,400 reused'
        """
        return f"rounds before the attack: {self.played:,} played, {self.reused:,} reused"


def saved_in_all(records: Iterable[tuple[Sequence[Line], int]]) -> Saving:
    """Count over records, each with the round its attack starts in, wherever they were made."""
    return sum((saved_in(lines, starts_at) for lines, starts_at in records), Saving())


def saved_in(lines: Sequence[Line], starts_at: int) -> Saving:
    """Count in one record."""
    before = sum(line["result"]["round"] < starts_at for line in rounds_of(list(lines)))
    reused = min(before, reused_in(list(lines)))
    return Saving(before - reused, reused)


def expected(cells: Iterable[Cell]) -> Saving:
    """Count what a sweep will play and reuse when it runs from the start."""
    left, total = set[str](), Saving()
    for cell in sorted(cells, key=lambda cell: cell.spec.attack is not None):
        rounds, prefix = cell.spec.threat.starts_at, cell.spec.prefix()
        total += Saving(0, rounds) if prefix in left else Saving(rounds, 0)
        if shares(cell.spec):
            left.add(prefix)
    return total


def shares(spec: Experiment) -> bool:
    """Whether the rounds before the attack are shared: an audit is of rounds really played."""
    try:
        return build_pipeline(spec.defenses, "defenses").audit is None
    except AsepsisError:
        return False  # it will be a failed row
