"""``asepsis compare`` and ``leaderboard``: results beside each other, never across protocols."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from asepsis.experiments.compare import Comparison, Difference, Refusal, Unlike
    from asepsis.report.wording import Scale

MOST_UNLIKE = 12
"""A refusal names this many differences; ``--json`` has them all."""
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, no tables.")]
PLACE = (
    "A results folder; FOLDER::'ATTACK / DEFENSE' is one cell of it, FOLDER/runs/HASH.jsonl a run."
)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=PLACE)],
    second: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="A figure, as a claim names it; the primary one when left out."),
    ] = None,
    json_: Json = False,
) -> None:
    """Compare two results, B minus A, seed by seed; different protocols are refused.

    Exit code 0: compared; 2: nothing may be compared.
    """
    from asepsis.experiments.compare import compare as compare_sides
    from asepsis.experiments.compare import side

    found = compare_sides(side(first), side(second), metric or ())
    if json_:
        typer.echo(json.dumps(_table(found), allow_nan=False))
    else:
        from rich.console import Console

        _print(found, Console())
    if not found.possible:
        raise typer.Exit(2)


def _print(found: Comparison, console: Console) -> None:
    from asepsis.report.wording import counted, without_paths

    for note in found.notes:
        _say(console, f"NOTE {note}")
    if found.differences:
        for heading, table in _tables(found.differences):
            console.print(_plain(heading), style="bold", soft_wrap=True)
            console.print(table)
        _say(
            console,
            "95% intervals over seeds; the gap is B minus A of the same seeds. Holm's correction "
            "within this table; a verdict needs 3 seeds, a claim 5.",
        )
    for item in found.refused:
        _say(console, f"not compared: {item.scenario}: {item.cell}: {item.reason}")
        for unlike in item.unlike[:MOST_UNLIKE]:
            first, second = without_paths(unlike.first), without_paths(unlike.second)
            _say(console, f"    {unlike.place}: {first} (A), {second} (B)")
        if more := len(item.unlike[MOST_UNLIKE:]):
            _say(console, f"    and {counted(more, 'other place')}")
    for name, cells in (("A", found.only_first), ("B", found.only_second)):
        for cell in cells:
            _say(console, f"only in {name}: {cell}")
    if not found.possible:
        _say(console, "nothing can be compared")


def _tables(found: list[Difference]) -> Iterator[tuple[str, Any]]:
    """Yield a heading and a table for every scenario and figure: they fit into 80 columns."""
    from asepsis.report.wording import Scale

    for scenario, metric in dict.fromkeys((item.scenario, item.metric) for item in found):
        scale = Scale(metric)
        hint = ", lower is better" if scale.sign < 0 else ""
        mine = [item for item in found if (item.scenario, item.metric) == (scenario, metric)]
        yield f"{scenario}: {scale.label}{hint}", _differences(mine, scale)


def _differences(found: list[Difference], scale: Scale) -> Any:
    from rich import box
    from rich.table import Table

    from asepsis.report.wording import number, plus_minus

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("attack / defense", overflow="fold")
    for head in ("A", "B", "B − A", "p (Holm)", "verdict", "seeds"):
        table.add_column(head, overflow="fold", min_width=max(map(len, head.split())))
    for item in found:
        table.add_row(
            _plain(item.cell),
            plus_minus(scale, item.first),
            plus_minus(scale, item.second),
            plus_minus(scale, item.gap, change=True),
            number(item.p, 3),
            item.verdict.value,
            str(len(item.seeds)),
        )
    return table


def _plain(text: str) -> Any:
    from asepsis.report.side_by_side import printable

    return printable(text)


def _say(console: Console, text: str) -> None:
    console.print(_plain(text), soft_wrap=True)


def _table(found: Comparison) -> dict[str, Any]:
    return {
        "a": Path(found.first.name).name,
        "b": Path(found.second.name).name,
        "notes": found.notes,
        "compared": [_told(item) for item in found.differences],
        "refused": [_refused(item) for item in found.refused],
        "only_in_a": found.only_first,
        "only_in_b": found.only_second,
    }


def _told(item: Difference) -> dict[str, Any]:
    return {
        "scenario": item.scenario,
        "cell": item.cell,
        "metric": item.metric,
        "a": finite(item.first.mean),
        "b": finite(item.second.mean),
        "difference": finite(item.gap.mean),
        "low": finite(item.gap.low),
        "high": finite(item.gap.high),
        "p_holm": finite(item.p),
        "verdict": item.verdict.value,
        "seeds": list(item.seeds),
        "differs_in": _places(item.unlike),
    }


def _refused(item: Refusal) -> dict[str, Any]:
    return {
        "scenario": item.scenario,
        "cell": item.cell,
        "reason": item.reason,
        "differs_in": _places(item.unlike),
    }


def _places(found: tuple[Unlike, ...]) -> list[dict[str, str]]:
    from asepsis.report.wording import without_paths

    return [
        {"place": one.place, "a": without_paths(one.first), "b": without_paths(one.second)}
        for one in found
    ]


def finite(value: float) -> float | None:
    """Return a number for JSON, which knows no NaN."""
    return value if math.isfinite(value) else None
