"""A report's tables as CSV and LaTeX, its plots as SVG and PDF: one file each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields
from pathlib import Path

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.experiments.results import Results
from asepsis.experiments.store import guarded, write_atomic
from asepsis.report import claimed, sections
from asepsis.report.blocks import Block, gathered
from asepsis.report.grids import Cell, Grid
from asepsis.report.matrix import tables as matrix_tables
from asepsis.report.plots import Plot
from asepsis.report.tabular import csv_text, latex_text

FORMATS = ("csv", "latex", "svg", "pdf")
SUFFIX = {"csv": "csv", "latex": "tex", "svg": "svg", "pdf": "pdf"}
CAPTIONS = {
    "findings": "All attacks and defenses",
    "defended": "What each defense is worth",
    "activation": "Activation proofs",
    "detection": "Detection of hostile hospitals",
    "cost": "Seconds of one round by part of the work; size of one hospital's update",
    "devices": "Cost to one hospital, per round",
    "hospitals": "Samples of every hospital, first seed",
    "threats": "Attacks",
    "durability": "Strength at departure and how long it lasted",
    "matched": "Matched comparison of lifespans",
    "promised": "Differential privacy, as accounted for",
}
Table = tuple[str, str, Grid]
"""Name of the file, caption, table."""


def export(results: Results, out: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """Write every table and plot of a study into a folder.

    Args:
        results: what the study found.
        out: the folder, made when it is not there; files of the same names are replaced.
        formats: ``csv`` and ``latex`` of tables, ``svg`` and ``pdf`` of plots.

    Returns:
        The files, in the order of the page; readable by their owner only.

    Raises:
        ConfigError: an unknown format.
        StoreError: the folder or a file cannot be written.
        MissingExtraError: plots are asked for, and matplotlib is not installed.
    """
    asked = [name for name in FORMATS if name in formats]
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not asked:
        raise ConfigError(
            "unknown format", place="--format", got=", ".join(unknown), fix=", ".join(FORMATS)
        )
    with guarded(out):
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = []
    for name, kind, content in _files(results, asked):
        path = out / f"{name}.{SUFFIX[kind]}"
        write_atomic(path, content)
        made.append(path)
    return made


def _files(results: Results, asked: list[str]) -> Iterator[tuple[str, str, bytes]]:
    blocks = gathered(results)
    for name, caption, grid in _all_tables(results, blocks):
        if "csv" in asked:
            yield name, "csv", csv_text(grid).encode()
        if "latex" in asked:
            yield name, "latex", latex_text(grid, caption, name).encode()
    if {"svg", "pdf"} & set(asked):
        yield from _drawn([plot for block in blocks for plot in plots_of(block)], asked)


def _drawn(shown: list[Plot], asked: list[str]) -> Iterator[tuple[str, str, bytes]]:
    try:
        from asepsis.report.files import pdf_file, svg_file
    except ImportError:
        raise MissingExtraError("matplotlib", "plots") from None
    for plot in shown:
        if "svg" in asked:
            yield plot.name, "svg", svg_file(plot)
        if "pdf" in asked:
            yield plot.name, "pdf", pdf_file(plot)


def _all_tables(results: Results, blocks: list[Block]) -> list[Table]:
    found = [
        ("claims", "What the paper says beside what was measured", claimed.claims_grid(results))
    ]
    found += matrix_tables(results)
    found += [table for block in blocks for table in tables_of(block)]
    found.append(("failures", "Runs that ended without figures", sections.failures_grid(results)))
    return [table for table in found if table[2].rows]


def tables_of(block: Block) -> list[Table]:
    """Return every table of a scenario that has rows, under the names that the page uses."""
    title = block.scenario.title
    found = [(f"{block.name}-map", f"Attacks and defenses, {title}", map_grid(block))]
    for part in (block, block.generated):
        for item in fields(part) if part is not None else ():
            value = getattr(part, item.name)
            if isinstance(value, Grid):
                caption = CAPTIONS.get(item.name) or value.caption or item.name.capitalize()
                found.append((f"{block.name}-{item.name}", f"{caption}, {title}", value))
    found += [(f"{block.name}-heat-{x.name}", f"{x.caption}, {title}", x.grid) for x in block.heats]
    found += [
        (f"{block.name}-learned-{number}", f"{caption}, {title}", grid)
        for number, (caption, grid) in enumerate(block.learned, start=1)
    ]
    return [table for table in found if table[2].rows]


def map_grid(block: Block) -> Grid:
    """Return the map of attacks and defenses as a plain table."""
    first = "attack" if block.across == block.scenario.defenses else "defense"
    rows = [
        [
            Cell(name, name),
            *(
                Cell("; ".join([*tile.lines, f"{tile.mark} {tile.verdict}".strip()]))
                for tile in tiles
            ),
        ]
        for name, tiles in block.tiles
    ]
    return Grid([first, *block.across], rows)


def plots_of(block: Block) -> list[Plot]:
    """Return every plot of a scenario that was drawn here."""
    parts = [block, block.generated]
    values = [getattr(p, item.name) for p in parts if p is not None for item in fields(p)]
    lists = [value for value in values if isinstance(value, list)]
    shown = [item for value in lists for item in value if isinstance(item, Plot)]
    return [plot for plot in shown if plot.drawing is not None]
