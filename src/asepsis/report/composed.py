"""Which defenses go together, as tables of pairs, exceptions and numbered reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from asepsis.experiments.composition import AXES, NONE, Cell, Verdict, tried

NEUTRAL = Cell("plain", NONE, "mean", NONE)
TABLES = (
    ("Rule behind transport", "rule", "transport"),
    ("Screen behind transport", "screen", "transport"),
    ("Privacy with transport", "privacy", "transport"),
    ("Rule behind screen", "rule", "screen"),
    ("Rule with privacy", "rule", "privacy"),
)
YES = "yes"
HEAD = """# What goes together

A stack of defenses is put together from rooms: what hospitals do to their updates, the channel,
screens, one rule, what happens to the aggregate, and how hospitals train. Every combination works,
or is refused before anything runs, with the reason and with what would do. The command
`asepsis compose --markdown` tries them all and prints this page; a test keeps it true.
"""


@dataclass(frozen=True, slots=True)
class Table:
    """Pairs of components, all else left out: ``yes``, or the number of the reason."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Composed:
    """What was tried: pairs, what only more than two say, the reasons, and how many."""

    tables: tuple[Table, ...]
    only_together: tuple[str, ...]
    not_together: tuple[str, ...]
    reasons: tuple[str, ...]
    tried: int
    work: int


def summarized(verdicts: Sequence[Verdict]) -> Composed:
    """Summarize verdicts: each is a pair's, or one of the exceptions that are named."""
    known = {verdict.cell: verdict for verdict in verdicts}
    reasons = list(dict.fromkeys(_reason(verdict) for verdict in verdicts if not verdict.works))
    pairs = _Pairs(known)
    tables = tuple(_table(*about, verdicts, pairs, reasons) for about in TABLES)
    odd = [v for v in verdicts if v.works != all(pairs.all(v.cell))]
    return Composed(
        tables=tuple(table for table in tables if len(table.rows) and len(table.heads) > 1),
        only_together=_named([v for v in odd if v.works]),
        not_together=_named([v for v in odd if not v.works]),
        reasons=tuple(reasons),
        tried=len(verdicts),
        work=sum(verdict.works for verdict in verdicts),
    )


def markdown(found: Composed) -> str:
    """Write the page."""
    lines = [HEAD, _counted(found), ""]
    for table in found.tables:
        lines += [f"## {table.title}", "", _line(table.heads), _line(["---"] * len(table.heads))]
        lines += [*(_line(row) for row in table.rows), ""]
    lines += ["## More than two", ""]
    lines += [f"- {text}" for text in exceptions(found)]
    lines += ["", "## Reasons", ""]
    lines += [f"{number}. {reason}" for number, reason in enumerate(found.reasons, 1)]
    return "\n".join(lines) + "\n"


def exceptions(found: Composed) -> list[str]:
    """Say which combinations do not follow from their pairs."""
    said = []
    if found.only_together:
        said.append(f"Works, though two of it alone do not: {'; '.join(found.only_together)}.")
    if found.not_together:
        said.append(f"Refused, though any two of it work: {'; '.join(found.not_together)}.")
    return said or ["Every combination follows from its pairs."]


def _counted(found: Composed) -> str:
    return (
        f"Of {found.tried} combinations {found.work} work, in a federation of 27 hospitals whose\n"
        "server has root data. Tables are of two components, all else being a plain channel, no\n"
        "screen, the mean, nothing for privacy: `yes`, or the number of the reason. One screen of\n"
        "each sort stands for the others; `asepsis compose --every` tries all."
    )


class _Pairs:
    """Verdicts on two components, all else left out."""

    def __init__(self, known: dict[Cell, Verdict]) -> None:
        self._known = known

    def at(self, **chosen: str) -> Verdict:
        cell = replace(NEUTRAL, **chosen)
        if cell not in self._known:
            self._known[cell] = tried(cell)
        return self._known[cell]

    def all(self, cell: Cell) -> Iterator[bool]:
        for one, two in combinations(AXES, 2):
            yield self.at(**{one: getattr(cell, one), two: getattr(cell, two)}).works


def _table(
    title: str,
    down: str,
    across: str,
    verdicts: Sequence[Verdict],
    pairs: _Pairs,
    reasons: list[str],
) -> Table:
    rows = list(dict.fromkeys(getattr(verdict.cell, down) for verdict in verdicts))
    columns = list(dict.fromkeys(getattr(verdict.cell, across) for verdict in verdicts))
    made = []
    for row in rows:
        found = [pairs.at(**{down: row, across: column}) for column in columns]
        made.append((row, *(_mark(verdict, reasons) for verdict in found)))
    return Table(title, (down, *columns), tuple(made))


def _mark(verdict: Verdict, reasons: list[str]) -> str:
    if verdict.works:
        return YES
    if _reason(verdict) not in reasons:
        reasons.append(_reason(verdict))
    return str(1 + reasons.index(_reason(verdict)))


def _reason(verdict: Verdict) -> str:
    return f"{verdict.kind}; {verdict.remedy}"


def _named(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Name combinations, those left out that only add to another."""
    there = {verdict.cell for verdict in verdicts}
    smallest = [v for v in verdicts if not any(cell in there for cell in _without_one(v.cell))]
    return tuple(verdict.cell.names() for verdict in smallest)


def _without_one(cell: Cell) -> Iterator[Cell]:
    for name in AXES:
        if getattr(cell, name) != getattr(NEUTRAL, name):
            yield replace(cell, **{name: getattr(NEUTRAL, name)})


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
