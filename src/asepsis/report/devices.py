"""What every defense costs one hospital in a round: bytes, seconds, memory."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from asepsis.experiments.device_table import Measured
from asepsis.experiments.devices import DeviceCost
from asepsis.experiments.results import Results
from asepsis.report.grids import Cell, Grid
from asepsis.report.side_by_side import printable
from asepsis.report.wording import number

CAPTION = "Cost to one hospital, per round"
HEADS = ["defense", "sent (KiB)", "received (KiB)", "time (ms)", "memory (MiB)"]
PARTS = ["training (ms)", "protection (ms)", "sending (ms)"]
LEFT_OUT = "not in these figures"
UNKNOWN = "not measured"


def devices_grid(results: Results, scenario: str) -> Grid:
    """Return a row for every defense of a scenario, in the order of the plan; empty if none."""
    found = [one for one in results.devices if one.scenario == scenario]
    remarks = any(_remark(one) for one in found)
    heads = [*HEADS, *PARTS, *([LEFT_OUT] if remarks else [])]
    return Grid(heads, [_row(one, remarks) for one in found], CAPTION) if found else Grid([], [])


def _row(one: Measured, remarks: bool) -> list[Cell]:
    cells = [Cell(one.defense, one.defense, hint=_who(one.cost)), *_figures(one.cost)]
    return [*cells, Cell(_remark(one))] if remarks else cells


def _figures(cost: DeviceCost | None) -> list[Cell]:
    if cost is None:
        return [Cell(UNKNOWN, math.nan)] * (len(HEADS) - 1 + len(PARTS))
    return [
        Cell(number(cost.bytes_up / 1024, 1), cost.bytes_up),
        Cell(number(cost.bytes_down / 1024, 1), cost.bytes_down),
        Cell(number(1000 * cost.seconds, 1), cost.seconds),
        Cell(number(cost.memory_mib, 1), cost.memory_mib),
        *(Cell(number(1000 * v, 1), v) for v in (cost.training, cost.protection, cost.sending)),
    ]


def _who(cost: DeviceCost | None) -> str:
    known = cost is not None and cost.samples is not None
    return f"a hospital with {cost.samples} training samples" if cost and known else ""


def _remark(one: Measured) -> str:
    return one.error if one.cost is None else one.cost.note


def print_devices(results: Results, console: Console) -> None:
    """Print bytes, seconds and memory of every defense, a table a scenario."""
    for scenario in dict.fromkeys(one.scenario for one in results.devices):
        grid = devices_grid(results, scenario)
        table = Table(header_style="bold")
        for place, head in enumerate(HEADS):
            table.add_column(head, justify="right" if place else "left", overflow="fold")
        for row in grid.rows:
            table.add_row(*(printable(cell.text) for cell in row[: len(HEADS)]))
        console.print()
        console.print(printable(f"{scenario}: {CAPTION[:1].lower()}{CAPTION[1:]}", "bold"))
        console.print(table)
