"""``asepsis leaderboard``: defenses by their worst case, one table for every protocol."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from asepsis.experiments.folders import Found
    from asepsis.report.leaderboard import Entry, Table

HASH = 8
"""So many digits of a hash name a protocol in a heading."""


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="A folder with results folders in it.")],
    metric: Annotated[
        str | None,
        typer.Option(help="What to rank by, such as accuracy or excess; the primary figure."),
    ] = None,
    attack: Annotated[
        list[str] | None, typer.Option(help="Rank by this attack only; may be repeated.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Rank defenses by their worst case over attacks, never across protocols."""
    from asepsis.experiments.folders import load_all
    from asepsis.report.leaderboard import leaderboard as rank

    found = load_all(folder)
    tables = rank(found, metric, attack or ())
    unread = [item for item in found if item.results is None]
    if json_:
        typer.echo(json.dumps(_document(folder, tables, unread), allow_nan=False))
        return
    from rich.console import Console

    _print(folder, tables, unread, Console())


def _print(folder: Path, tables: list[Table], unread: list[Found], console: Console) -> None:
    from asepsis.report.side_by_side import printable

    for table in tables:
        _print_table(table, console)
    if tables:
        console.print(
            "Stacks share a rank unless the whole 95% interval of one lies beyond the other's: "
            "intervals that overlap are no order. The worst of several means is itself chosen, so "
            "somewhat too bad. Cost is of the machine it ran on.",
            style="dim",
        )
    else:
        console.print("no results with figures here")
    for item in unread:
        told = f"not read: {_within(item.place, folder)}: {item.problem}"
        console.print(printable(told, "yellow"), soft_wrap=True)


def _print_table(table: Table, console: Console) -> None:
    from asepsis.report.leaderboard import grid, remarks
    from asepsis.report.side_by_side import printable, split_tables
    from asepsis.report.wording import Scale, counted, listed

    cells = grid(table)
    rows = [[cell.text for cell in row] for row in cells.rows]
    names, figures = [row[1] for row in rows], [[row[0], *row[2:-1]] for row in rows]
    heads = [cells.heads[0], *cells.heads[2:-1]]
    hint = ", lower is better" if table.sign < 0 else ""
    label = Scale(table.metric).label
    console.print()
    heading = f"{table.title}: {label}{hint} (protocol {table.protocol[:HASH]})"
    console.print(printable(heading, "bold"), soft_wrap=True)
    for shown in split_tables(cells.heads[1], names, heads, figures, console.width):
        console.print(shown)
    for entry in table.entries:
        if said := "; ".join(remarks(entry)):
            console.print(printable(f"{entry.defense}: {said}"))
    attacks = listed(list(table.attacks)) if table.attacks else "none"
    facts = f"{counted(len(table.seeds), 'seed')}; ranked over: {attacks}"
    console.print(printable(f"{facts}; from {listed(list(table.folders))}", "dim"), soft_wrap=True)


def _document(folder: Path, tables: list[Table], unread: list[Found]) -> dict[str, Any]:
    return {
        "tables": [_table(table) for table in tables],
        "not_read": [
            {"folder": _within(item.place, folder), "problem": item.problem} for item in unread
        ],
    }


def _table(table: Table) -> dict[str, Any]:
    plain = {
        "title": table.title,
        "protocol": table.protocol,
        "metric": table.metric,
        "higher_is_better": table.sign > 0,
        "folders": list(table.folders),
        "attacks": list(table.attacks),
        "seeds": list(table.seeds),
    }
    return {**plain, "defenses": [_entry(entry) for entry in table.entries]}


def _entry(entry: Entry) -> dict[str, Any]:
    """Return an entry for JSON: ``null`` where there is no number, and no rank."""
    found: dict[str, Any] = _numbers(asdict(entry))
    return {**found, "rank": entry.rank or None, "adaptive_tried": found.pop("adapted")}


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _within(place: Path, folder: Path) -> str:
    """Name a results folder by where it lies in the folder that was given."""
    return place.relative_to(folder).as_posix() if place != folder else place.name
