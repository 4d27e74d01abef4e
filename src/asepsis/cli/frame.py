"""``asepsis frame``: results as one table, for whatever reads Parquet or CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def frame(
    folder: Annotated[Path, typer.Argument(help="A results folder that a run wrote.")],
    out: Annotated[
        Path,
        typer.Option(help="Ends in .csv, or in .parquet (needs the extra \\[parquet]: pyarrow)."),
    ],
    rounds: Annotated[
        bool, typer.Option("--rounds", help="One row a run and round instead of one a run.")
    ] = False,
) -> None:
    """Write the figures of all runs as one table.

    Figures that are not estimable are NaN; what a run does not have is null.
    """
    from asepsis.experiments.frames import round_rows, run_rows, write_table
    from asepsis.experiments.results import load_results
    from asepsis.report.wording import counted, without_paths

    results = load_results(folder)
    rows = round_rows(results.runs) if rounds else run_rows(results.runs)
    told = [
        {name: without_paths(v) if name == "message" else v for name, v in row.items()}
        for row in rows
    ]
    protocols = sorted({str(row["protocol"]) for row in rows} - {""})
    study = results.study
    heads = [run.lines[0]["result"] for run in results.runs if run.lines]
    about = {
        "study": study.name,
        "profile": study.profile,
        "protocols": protocols,
        "code": sorted({str(head.get("code", "")) for head in heads}),
        "row": "round" if rounds else "run",
    }
    write_table(told, out, about)
    typer.echo(f"{out}: {counted(len(rows), 'row')}")
