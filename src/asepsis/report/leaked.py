"""What those who only look have learned, beside what they would know without looking."""

from __future__ import annotations

import math
from dataclasses import dataclass

from asepsis.experiments.leaks import learned, observers, scored, voids, watchers
from asepsis.experiments.results import Group
from asepsis.metrics.intervals import Interval
from asepsis.report.findings import Finding, Scenario
from asepsis.report.grids import Cell, Grid
from asepsis.report.leak_figures import KINDS, Column, Write, decibels

NOTHING = Cell("–", -math.inf)


@dataclass(frozen=True, slots=True)
class Block:
    """What one observer learned through every stack: figures by stack, the main ones or all."""

    kind: str
    title: str
    stacks: list[str]
    figures: list[tuple[str, list[Cell]]]


def blocks(scenario: Scenario) -> list[Block]:
    """Return the main figures of every observer in a scenario, ordered by kind of evidence."""
    made = []
    several = len(_attacks(_looking(scenario))) > 1
    for kind in _kinds(scenario):
        by_title: dict[str, list[Watched]] = {}
        for item in _watched(scenario, kind):
            by_title.setdefault(_titled(*item, several=several), []).append(item)
        for title, mine in by_title.items():
            known = _shown(kind, mine)
            shown = [column for column in known if column.main] or known
            rows = [
                (column.head, [_told_in(item, shown, column) for item in mine]) for column in shown
            ]
            made.append(Block(kind, title, [finding.defense for finding, _ in mine], rows))
    return made


def grids(scenario: Scenario) -> list[tuple[str, Grid]]:
    """Return a table for every kind of evidence in a scenario, with its caption."""
    return [(KINDS[kind][0], _grid(scenario, kind)) for kind in _kinds(scenario)]


def silent(scenario: Scenario) -> list[str]:
    """Return who watched and never claimed anything in any run of a scenario."""
    known = _known(scenario)
    watched = [item for item in _looking(scenario) if item[0].group.good]
    return list(dict.fromkeys(_named(*item) for item in watched if _key(*item) not in known))


def _grid(scenario: Scenario, kind: str) -> Grid:
    found = _watched(scenario, kind)
    columns = _shown(kind, found)
    several = len(_attacks(found)) > 1
    heads = ["who looks", *(["attack"] if several else []), "through"]
    rows = [
        [
            Cell(_named(finding, by), _named(finding, by)),
            *([Cell(finding.attack, finding.attack)] if several else []),
            Cell(finding.defense, finding.defense),
            *(_told_in((finding, by), columns, column) for column in columns),
        ]
        for finding, by in sorted(found, key=lambda item: _named(*item))
    ]
    return Grid([*heads, *(column.head for column in columns)], rows)


Watched = tuple[Finding, str]
"""One observer, by its name in the record, in all runs of one cell."""


def _looking(scenario: Scenario) -> list[Watched]:
    return [(finding, by) for finding in scenario.findings for by in watchers(finding.group)]


def _key(finding: Finding, by: str) -> str:
    """Name an observer so that it is found again behind other stacks."""
    return f"attack {finding.group.attack}" if by == "attack" else by


def _known(scenario: Scenario) -> dict[str, str]:
    """Return what kind of evidence every observer claims, where it claims any."""
    return {
        _key(finding, by): kind
        for finding in scenario.findings
        for by, kind in observers(finding.group).items()
    }


def _kinds(scenario: Scenario) -> list[str]:
    return [kind for kind in dict.fromkeys(_known(scenario).values()) if kind in KINDS]


def _watched(scenario: Scenario, kind: str) -> list[Watched]:
    """Return who looks for one kind of evidence, whether or not there was any."""
    known = _known(scenario)
    return [item for item in _looking(scenario) if known.get(_key(*item)) == kind]


def _shown(kind: str, found: list[Watched]) -> list[Column]:
    """Return the figures that any of them has."""
    names = {name for finding, by in found for name in _names(finding.group, by)}
    return [column for column in KINDS[kind][1] if column.figure in names]


def _titled(finding: Finding, by: str, *, several: bool) -> str:
    beside = several and by != "attack"
    return f"{by}, attack: {finding.attack}" if beside else _named(finding, by)


def _attacks(found: list[Watched]) -> set[str]:
    """Return the attacks beside which observers look."""
    return {finding.attack for finding, by in found if by != "attack"}


def _told_in(item: Watched, columns: list[Column], column: Column) -> Cell:
    """Write one figure; who claimed nothing has that said once, in place of the first."""
    finding, by = item
    if by in observers(finding.group):
        return _cell(finding.group, by, column)
    return Cell(_unclaimed(finding), -math.inf) if column is columns[0] else NOTHING


def _unclaimed(finding: Finding) -> str:
    if not finding.group.good:
        return "no run ended with figures"
    void, rounds, why = voids(finding.group)
    return "nothing claimed" + (f" ({void} of {rounds} rounds void: {why})" if void else "")


def _named(finding: Finding, by: str) -> str:
    return finding.attack if by == "attack" else by


def _names(group: Group, by: str) -> set[str]:
    return {name for run, _ in group.good for name in scored(run, by)}


def _cell(group: Group, by: str, column: Column) -> Cell:
    if column.figure not in _names(group, by):
        return NOTHING
    found = learned(group, by, column.figure)
    if not found.n:
        return Cell("n/e", -math.inf, "not estimable")
    return Cell(_written(found, column.write), found.mean)


def _written(found: Interval, write: Write) -> str:
    if not math.isfinite(found.low):
        return write(found.mean)
    return f"{write(found.mean)} [{write(found.low)}, {write(found.high)}]"


def _told(column: Column, value: float) -> str:
    head, _, rest = column.head.partition(" (dB)")
    return f"{head}{rest} {column.write(value)}{' dB' if column.write is decibels else ''}"


def leaked_lines(finding: Finding) -> list[str]:
    """Write in short what a finding's own attack has learned, for a table of attacks."""
    kind = observers(finding.group).get("attack", "")
    columns = KINDS[kind][1] if kind in KINDS else ()
    told = [(column, learned(finding.group, "attack", column.figure)) for column in columns]
    known = [_told(column, found.mean) for column, found in told if found.n]
    return known[:4]
