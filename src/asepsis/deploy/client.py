"""A hospital's app: it plays its own hospital's part of the experiment beside it, nothing else.

Every message is answered by a process of its own, so what a hospital needs is built from its own
files each time: the experiment that came with the app, and the data that the node was given.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from asepsis.core.errors import AsepsisError, shown
from asepsis.deploy.app import folder_of_app, plan_of
from asepsis.deploy.cells import ASKED, CELL
from asepsis.deploy.texts import EXPERIMENT
from asepsis.engines.flower.client import PARTITION, make_app, me
from asepsis.engines.flower.messages import VERSION, content, plain
from asepsis.engines.flower.site import Site
from asepsis.experiments.identity import identity
from asepsis.experiments.resolve import hospitals_of, resolve
from asepsis.experiments.spec import Experiment
from asepsis.experiments.version import code_version
from asepsis.federation.build import assemble

ENGINE = "flower"
DATA = "data-root"
PLAYED = "asepsis.cell"
IDENTITY = "asepsis.identity"
"""What stays from one run to the next: a hospital's identity in secure aggregation."""


def __getattr__(name: str) -> Any:
    # Made on first use: without Flower this module can still be imported.
    if name == "app":
        return _app()
    raise AttributeError(name)


def _app() -> Any:
    from flwr.app import Message

    app = make_app(site_of)

    @app.query(CELL)  # type: ignore[untyped-decorator]
    def cell(message: Any, context: Any) -> Any:
        return Message(told(message.content, context), reply_to=message)

    return app


def told(record: Any, context: Any) -> Any:
    """Take note of the run that begins, and say whether this hospital can play it."""
    cell = plain(record, ASKED)["cell"]
    answer = {"version": VERSION, "client": me(context), "code": code_version()}
    try:
        data, refused = hospitals_of(spec_of(cell, context))[2], ""
    except AsepsisError as error:
        data, refused = "", shown(error)
    _note(cell, context)
    return content({**answer, "data": data, "refused": refused})


def _note(cell: str, context: Any) -> None:
    """Remember a run; of another one nothing is kept."""
    from flwr.app import ConfigRecord

    if dict(context.state.get(PLAYED, {})).get("cell") == cell:
        return
    for name in [name for name in context.state if name.startswith("asepsis.")]:
        if name != IDENTITY:
            del context.state[name]
    context.state[PLAYED] = ConfigRecord({"cell": cell})


def spec_of(cell: str, context: Any) -> Experiment:
    """Return a run of the experiment that came with the app, by its hash.

    Raises:
        AsepsisError: it has no such run.
    """
    _find_data(context)
    for one in plan_of(folder_of_app(sys.path) / EXPERIMENT).cells:
        if one.digest == cell:
            return one.spec
    raise AsepsisError("the experiment has no such run", place=EXPERIMENT, got=cell[:40])


def _find_data(context: Any) -> None:
    root = str(context.node_config.get(DATA, ""))
    if root:
        os.environ["ASEPSIS_DATA"] = root


def site_of(context: Any) -> Site:
    """Build what this hospital plays: of all training data only its own are kept."""
    cell = str(dict(context.state.get(PLAYED, {})).get("cell", ""))
    spec, number = spec_of(cell, context), me(context)
    parts, _ = resolve(spec)
    federation, _ = assemble(replace(parts, name=identity(spec, ENGINE)))
    own = {key: shard for key, shard in federation.plan.shards.items() if key[0] == number}
    if not own:
        raise AsepsisError("the experiment has no such hospital", place=PARTITION, got=number)
    return Site(replace(federation, plan=replace(federation.plan, shards=own)))
