"""Generators in a terminal: what their images are worth, who was blocked, what went wrong."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding

from asepsis.report.blocking import blocked_grid, honest_grid
from asepsis.report.findings import Scenario
from asepsis.report.generated import (
    caption,
    detectors,
    downstream_grid,
    memory_grid,
    of_generators,
    unlabeled,
    worth_grid,
)
from asepsis.report.grids import Grid
from asepsis.report.side_by_side import printable, split_tables
from asepsis.report.troubled import troubles_grid


def print_generated(scenario: Scenario, console: Console) -> None:
    """Print what a page says of a scenario's generators, apart from pictures."""
    if not of_generators(scenario):
        return
    _table(console, "What the images are worth", worth_grid(scenario), 2)
    for line in filter(None, (caption(scenario), detectors(scenario))):
        console.print(Padding(printable(f"{line}.", "dim"), (0, 0, 0, 1)))
    if not unlabeled(scenario):
        _table(
            console, "What a classifier learns from them", downstream_grid(scenario, figures=1), 2
        )
    for line in unlabeled(scenario):
        console.print(Padding(printable(f"Classifiers: {line}", "dim"), (0, 0, 0, 1)))
    _table(console, "What the generator gives away", memory_grid(scenario), 2)
    _table(console, "Honest hospitals penalized and blocked", honest_grid(scenario), 1)
    _lines(console, "Who was blocked", _blocked(scenario))
    _lines(console, "What went wrong on the way", _troubles(scenario))


def _table(console: Console, title: str, grid: Grid, keys: int) -> None:
    """Print a grid whose first columns name its rows."""
    if not grid.rows:
        return
    parts = [[cell.text for cell in row[:keys] if cell.text != "–"] for row in grid.rows]
    names = [" / ".join(part) for part in parts]
    cells = [[cell.text for cell in row[keys:]] for row in grid.rows]
    console.print()
    console.print(printable(title, "bold"))
    corner = " / ".join(grid.heads[:keys])
    for table in split_tables(corner, names, grid.heads[keys:], cells, console.width):
        console.print(table)


def _lines(console: Console, title: str, lines: list[str]) -> None:
    if lines:
        console.print()
        console.print(printable(title, "bold"))
    for line in lines:
        console.print(Padding(printable(f"· {line}"), (0, 0, 0, 1)))


def _blocked(scenario: Scenario) -> list[str]:
    found = []
    for row in blocked_grid(scenario).rows:
        attack, defense, name, *rest = (cell.text for cell in row)
        where = f"{attack} / {defense}: {name}"
        if name == "nobody":
            found.append(where)
        else:
            who, stage, when, runs, _, why = rest
            found.append(f"{where} ({who}) by {stage} from round {when} on, {runs} runs: {why}")
    return found


def _troubles(scenario: Scenario) -> list[str]:
    rows = ([cell.text for cell in row] for row in troubles_grid(scenario).rows)
    return [f"{attack} / {defense}, seed {seed}: {what}" for attack, defense, seed, what in rows]
