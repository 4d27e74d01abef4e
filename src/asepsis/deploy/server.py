"""The server's app: it plays the experiment beside it with the hospitals that are connected."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asepsis.core.errors import AsepsisError, StoreError, shown
from asepsis.deploy.app import folder_of_app, plan_of, sites_of
from asepsis.deploy.cells import Prompt, Same, announce
from asepsis.deploy.texts import EXPERIMENT, SAID
from asepsis.engines import Wire
from asepsis.experiments.locks import locked
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
        plan = plan_of(folder_of_app(sys.path) / EXPERIMENT)
        store = Store(place_of(context.run_config, plan.study.name))
        play(Prompt(grid), plan, store, resume=bool(context.run_config.get("resume", False)))
    except AsepsisError as error:
        say("error: " + shown(error))
        raise
    say("end")


def place_of(config: Mapping[str, Any], name: str) -> Path:
    """Return where records are written: where the run was told to, else below this folder."""
    asked = str(config.get("results", ""))
    made = Path("results") / name / time.strftime("%Y%m%d-%H%M%S")
    return (Path(asked).expanduser() if asked else made).absolute()


def play(grid: Any, plan: Plan, store: Store, *, resume: bool) -> None:
    """Play all runs of a plan, one after another; the records are in the store.

    Raises:
        AsepsisError: hospitals are missing, or the folder cannot be used.
    """
    store.check_place()
    if store.used and not resume:
        raise StoreError(
            "the folder already holds results",
            place=str(store.root),
            fix="go on with resume=true, or choose another place with results=...",
        )
    say(f"records on {socket.gethostname()}: {store.root}")
    count = sites_of(plan)
    with locked(store.open().root):
        store.tidy()
        store.write_plan(plan_table(plan, ENGINE))
        for group in grouped(plan.cells):
            for cell in group:
                _play_one(grid, cell, count, store, resume=resume)


def _play_one(grid: Any, cell: Cell, count: int, store: Store, *, resume: bool) -> None:
    same = Same(code_version(), hospitals_of(cell.spec)[2])
    announce(grid, cell.digest, count, same, say)
    say(f"{_label(cell)}: all {count} hospitals are ready")
    options = RunOptions(engine=ENGINE, resume=resume, wire=Wire(grid=grid))
    run_group([cell], store, options, _listen)


def _listen(progress: Progress) -> None:
    what, rounds = _label(progress.cell), progress.cell.spec.federation.rounds
    if progress.kind == "round":
        say(f"{what}: round {progress.round} of {rounds}")
    elif progress.kind == "failed":
        say(f"{what}: failed: {progress.message}")


def _label(cell: Cell) -> str:
    return f"{cell.attack} / {cell.defense}, seed {cell.seed}"
