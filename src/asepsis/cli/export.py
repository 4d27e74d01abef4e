"""``asepsis export``: a report's tables and plots as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    folder: Annotated[Path, typer.Argument(help="A results folder that a run wrote.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the files go; FOLDER/exports by default.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="Any of csv, latex (tables), svg, pdf (plots).")
    ] = "csv,latex,svg,pdf",
) -> None:
    """Write the tables of a results folder as CSV and LaTeX, its plots as SVG and PDF."""
    from asepsis.experiments.results import load_results
    from asepsis.report.export import export as written

    formats = [name.strip() for name in format_.split(",") if name.strip()]
    for path in written(load_results(folder), out or folder / "exports", formats):
        typer.echo(str(path))
