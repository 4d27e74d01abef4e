"""``asepsis track``: finished runs for MLflow or TensorBoard."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asepsis.core.errors import ConfigError

if TYPE_CHECKING:
    from asepsis.report.tracking import Tracker


class Target(StrEnum):
    """Where runs can be told to."""

    MLFLOW = "mlflow"
    TENSORBOARD = "tensorboard"


def track(
    folder: Annotated[Path, typer.Argument(help="A results folder that a run wrote.")],
    to: Annotated[
        Target, typer.Option(help="tensorboard, or mlflow (needs the extra \\[mlflow]).")
    ],
    uri: Annotated[
        str | None,
        typer.Option(
            help="MLflow: its store, else MLFLOW_TRACKING_URI, else FOLDER/mlflow.db. "
            "TensorBoard: the log folder, else FOLDER/tensorboard."
        ),
    ] = None,
) -> None:
    """Tell a tracker of all runs: parameters, tags, figures by round; no data, pictures or models.

    Runs that are there already are left alone.
    """
    from asepsis.experiments.results import load_results
    from asepsis.report.tracking import track as tell
    from asepsis.report.wording import counted

    results = load_results(folder)
    new, known = tell(results, _tracker(to, uri, folder))
    typer.echo(f"{counted(new, 'run')} told to {to.value}, {known} there already")


def _tracker(to: Target, uri: str | None, folder: Path) -> Tracker:
    if to is Target.TENSORBOARD:
        from asepsis.report.event_file import EventFiles

        if uri is not None and "://" in uri:
            raise ConfigError("not a folder", place="--uri", got=uri, fix="name a log folder")
        return EventFiles(Path(uri) if uri is not None else folder / "tensorboard")
    from asepsis.report.mlflow_log import Mlflow

    own = folder / "mlflow.db"
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if chosen is None:
        own.touch(mode=0o600)
    return Mlflow(chosen or f"sqlite:///{own}")
