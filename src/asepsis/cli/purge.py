"""``asepsis purge``: delete the evidence of a results folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asepsis.experiments.purge import Purge

COPIES = (
    "Deleted files may live on: in backups, snapshots, synchronized folders, and on the medium "
    "itself until it is overwritten."
)


def purge(
    folder: Annotated[Path, typer.Argument(help="A folder that a run or an assessment wrote.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Records, ledgers and the plan too: the whole run.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete a run's evidence: pictures, reports, checkpoints, models of rounds. Asks first.

    Records stay, so that asepsis report still works, without what was reconstructed; with --all
    nothing of the run stays. A run that was stopped starts over. Nothing that asepsis did not
    write is deleted, and no link is followed.
    """
    from asepsis.cli.asking import agreed
    from asepsis.experiments import purge as purging

    found = purging.plan_purge(folder, everything=everything)
    if not json_:
        _show(found)
    if found.files or everything:
        question = f"Delete {len(found.files)} files for good?"
        if not agreed(question, yes=yes):
            raise typer.Exit(1)
        purging.purge(found)
    if json_:
        typer.echo(
            json.dumps(
                {
                    "deleted": len(found.files),
                    "bytes": found.size,
                    "left": [path.relative_to(found.root).as_posix() for path in found.foreign],
                    "note": COPIES,
                }
            )
        )
        return
    typer.echo(f"Deleted {len(found.files)} files, {found.size:,} bytes. {COPIES}")
    if not everything:
        typer.echo("The records are kept; asepsis report writes the report again.")


def _show(found: Purge) -> None:

    for part, (count, size) in found.by_part.items():
        typer.echo(f"{part}: {count} {'file' if count == 1 else 'files'}, {size:,} bytes")
    if not found.files:
        typer.echo("There is no evidence to delete.")
    for path in found.foreign:
        typer.echo(f"left alone, asepsis did not write it: {path.relative_to(found.root)}")
