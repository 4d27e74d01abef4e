"""Run all cells of a plan: in this process, or in worker processes that share nothing but files."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from asepsis.core.errors import AsepsisError, StoreError
from asepsis.engines.processes import end_with_parent, interrupts_held
from asepsis.experiments.identity import identity
from asepsis.experiments.patients import message_of, pseudonyms_of, specified
from asepsis.experiments.plan import Cell, Plan
from asepsis.experiments.run import Cancelled, RunOptions, run_experiment
from asepsis.experiments.store import Record, Store, read_record


@dataclass(frozen=True)
class Progress:
    """What happened: ``kind`` is ``round``, ``done`` or ``failed``."""

    kind: str
    cell: Cell
    round: int = 0
    message: str = ""


Listener = Callable[[Progress], None]


def run_plan(
    plan: Plan,
    store: Store,
    *,
    jobs: int,
    engine: str,
    device: str = "cpu",
    resume: bool = False,
    pseudonyms: bool = False,
    listener: Listener = lambda _: None,
) -> None:
    """Run every cell; the records are in the store.

    Cells that share the rounds before the attack are one unit of work: their twin runs first and
    leaves the prefix. A cell that fails stays in the results as a failed one.

    Raises:
        KeyboardInterrupt: stopped by the user; checkpoints are written.
        StoreError: the folder cannot be written any more; ``resume`` goes on.
        AsepsisError: a worker process died; ``resume`` goes on.
    """
    groups = grouped(plan.cells)
    options = RunOptions(
        engine=engine, device=device, jobs=jobs, resume=resume, pseudonyms=pseudonyms
    )
    if jobs > 1 and len(groups) > 1:
        _in_processes(groups, store, min(jobs, len(groups)), options, listener)
        return
    for group in groups:
        run_group(group, store, options, listener)


def grouped(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Group cells that share the rounds before their attack, twins first, whoever watches."""
    groups: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.spec.attack is not None):
        shared = cell.spec.model_copy(update={"observe": ()})
        groups.setdefault(shared.prefix(), []).append(cell)
    return list(groups.values())


def run_group(cells: list[Cell], store: Store, options: RunOptions, listener: Listener) -> None:
    """Run the cells of one group, one after another."""
    for cell in cells:
        told = replace(options, on_round=_teller(cell, listener))
        try:
            run_experiment(cell.spec, store, told)
        except (StoreError, Cancelled):
            raise  # a full disk, or the user: no property of this cell
        except Exception as error:  # noqa: BLE001 (a component's own fault is a row, not the end)
            message = message_of(error, cell.spec, pseudonyms=options.pseudonyms)
            _fail(cell, store, options, message)
            listener(Progress("failed", cell, message=message))
        else:
            listener(Progress("done", cell, cell.spec.federation.rounds))


def _teller(cell: Cell, listener: Listener) -> Callable[[int], None]:
    return lambda round_: listener(Progress("round", cell, round_))


def _fail(cell: Cell, store: Store, options: RunOptions, message: str) -> None:
    """Keep a failed run as a row of the results."""
    name = identity(cell.spec, options.engine)
    sites = pseudonyms_of(cell.spec) if options.pseudonyms else {}
    path = store.record(name)
    played = [line for line in read_record(path) if line["type"] != "footer"]
    header = {
        "type": "header",
        "result": {"digest": name, **specified(cell.spec, sites)},
    }
    footer = {"type": "footer", "result": {"status": "error", "message": message}}
    Record(path, [*(played or [header]), footer])


_messages: Any = None
_stop: Any = None
"""A shared byte: unlike an event it has no lock that a killed worker could take to its grave."""


def _begin(messages: Any, stop: Any) -> None:
    global _messages, _stop
    _messages, _stop = messages, stop
    end_with_parent()
    # Progress is only shown: a worker must be able to end with messages nobody read.
    messages.cancel_join_thread()
    torch.set_num_threads(1)


def _work(numbered: list[tuple[int, Cell]], root: str, settings: dict[str, Any]) -> None:
    numbers = {cell: number for number, cell in numbered}

    def tell(progress: Progress) -> None:
        number = numbers[progress.cell]
        _messages.put((progress.kind, number, progress.round, progress.message))

    options = RunOptions(**settings, stop=lambda: bool(_stop.value))
    try:
        run_group([cell for _, cell in numbered], Store(Path(root)), options, tell)
    except (Cancelled, KeyboardInterrupt):
        return


def _in_processes(
    groups: list[list[Cell]], store: Store, jobs: int, options: RunOptions, listener: Listener
) -> None:
    context = multiprocessing.get_context("spawn")
    messages, stop = context.Queue(), context.RawValue("b", 0)
    inner = "serial" if options.engine in ("threads", "pool") else options.engine
    settings = {"engine": inner, "device": options.device, "jobs": 1, "resume": options.resume}
    settings["pseudonyms"] = options.pseudonyms
    cells = [cell for group in groups for cell in group]
    numbers = {id(cell): number for number, cell in enumerate(cells)}
    executor = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin, initargs=(messages, stop)
    )
    try:
        with interrupts_held():
            futures = [
                executor.submit(
                    _work, [(numbers[id(cell)], cell) for cell in group], str(store.root), settings
                )
                for group in groups
            ]
        _watch(futures, lambda wait: _drain(messages, cells, listener, wait))
    except BrokenProcessPool:
        raise AsepsisError(
            "a worker process died (out of memory, or killed)",
            place="--jobs",
            got=jobs,
            fix="go on with --resume, or with fewer --jobs",
        ) from None
    finally:
        # Whatever went wrong, the workers must hear of it before they are waited for.
        stop.value = 1
        executor.shutdown(wait=True, cancel_futures=True)


def _watch(futures: Sequence[Future[None]], drain: Callable[[float], None]) -> None:
    """Pass messages on until all work is done; the first error ends it."""
    pending = list(futures)
    while pending:
        drain(0.2)
        done = [future for future in pending if future.done()]
        for future in done:
            future.result()
        pending = [future for future in pending if future not in done]
    drain(0.05)


def _drain(messages: Any, cells: list[Cell], listener: Listener, wait: float) -> None:
    until = time.monotonic() + wait
    try:
        while (left := until - time.monotonic()) > 0:
            kind, number, round_, message = messages.get(timeout=left)
            listener(Progress(kind, cells[number], round_, message))
    except Empty:
        return
