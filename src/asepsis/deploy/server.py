"""The server's app: it plays the experiment beside it with the hospitals that are connected."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Any

from asepsis.core.errors import AsepsisError, StoreError, shown
from asepsis.deploy.app import folder_of_app, plan_of, sites_of
from asepsis.deploy.cells import Prompt, Same, announce
from asepsis.deploy.texts import EXPERIMENT, SAID, Settings
from asepsis.engines import Wire
from asepsis.experiments.locks import locked
from asepsis.experiments.patients import screened
from asepsis.experiments.plan import Cell, Plan
from asepsis.experiments.resolve import hospitals_of
from asepsis.experiments.results import plan_table
from asepsis.experiments.run import RunOptions
from asepsis.experiments.store import Store
from asepsis.experiments.sweep import Progress, grouped, run_group
from asepsis.experiments.version import code_version

ENGINE = "flower"


def __getattr__(name: str) -> Any:
    # Made on first use: without Flower this module can still be imported.
    if name == "app":
        return _app()
    raise AttributeError(name)


def _app() -> Any:
    from flwr.serverapp import ServerApp

    app = ServerApp()
    app.main()(main)
    return app


def say(line: str) -> None:
    """Tell whoever started the app, on one line."""
    print(SAID + " ".join(line.split("\n")), flush=True)


def main(grid: Any, context: Any) -> None:
    """Play the experiment; what is wrong is told before it is raised."""
    try:
        settings = Settings.of(context.run_config)
        play(Prompt(grid), plan_of(folder_of_app(sys.path) / EXPERIMENT), settings)
    except AsepsisError as error:
        say("error: " + shown(error))
        raise
    say("end")


def place_of(settings: Settings, name: str) -> Path:
    """Return where records are written: where the run was told to, else below this folder."""
    made = Path("results") / name / time.strftime("%Y%m%d-%H%M%S")
    return (Path(settings.results).expanduser() if settings.results else made).absolute()


def play(grid: Any, plan: Plan, settings: Settings) -> None:
    """Play all runs of a plan, one after another, and write their records.

    Raises:
        AsepsisError: hospitals are missing, or the folder cannot be used.
    """
    plan = screened(plan, pseudonyms=settings.pseudonyms)
    store = Store(place_of(settings, plan.study.name))
    store.check_place()
    if store.used and not settings.resume:
        raise StoreError(
            "the folder already holds results",
            place=str(store.root),
            fix="go on with resume=true, or choose another place with results=...",
        )
    say(f"records on {socket.gethostname()}: {store.root}")
    count = sites_of(plan)
    with locked(store.open().root):
        store.tidy()
        store.write_plan(plan_table(plan, ENGINE, pseudonyms=settings.pseudonyms))
        for group in grouped(plan.cells):
            for cell in group:
                _play_one(grid, cell, count, store, settings)


def _play_one(grid: Any, cell: Cell, count: int, store: Store, settings: Settings) -> None:
    same = Same(code_version(), hospitals_of(cell.spec)[2])
    announce(grid, cell.digest, count, same, say)
    say(f"{_label(cell)}: all {count} hospitals are ready")
    how = RunOptions(
        engine=ENGINE, resume=settings.resume, pseudonyms=settings.pseudonyms, wire=Wire(grid=grid)
    )
    run_group([cell], store, how, _listen)


def _listen(progress: Progress) -> None:
    what, rounds = _label(progress.cell), progress.cell.spec.federation.rounds
    if progress.kind == "round":
        say(f"{what}: round {progress.round} of {rounds}")
    elif progress.kind == "failed":
        say(f"{what}: failed: {progress.message}")


def _label(cell: Cell) -> str:
    return f"{cell.attack} / {cell.defense}, seed {cell.seed}"
