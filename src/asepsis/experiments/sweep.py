"""Run the cells of a plan, or a share of them: here, in worker processes, or on a cluster."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from asepsis.core.errors import AsepsisError
from asepsis.engines.processes import end_with_parent, interrupts_held
from asepsis.experiments.cells import Listener, Progress, grouped, run_group
from asepsis.experiments.cluster import on_cluster
from asepsis.experiments.cluster_child import Bridge
from asepsis.experiments.plan import Cell, Plan
from asepsis.experiments.run import Cancelled, RunOptions
from asepsis.experiments.shard import Shard
from asepsis.experiments.store import Store

__all__ = ["Listener", "Progress", "grouped", "run_group", "run_plan"]

OWN_WORKERS = ("flower",)
"""Engines that share ``jobs`` workers out within a run: their runs go one after another."""


def run_plan(
    plan: Plan,
    store: Store,
    *,
    jobs: int | None,
    engine: str,
    device: str = "cpu",
    resume: bool = False,
    pseudonyms: bool = False,
    shard: Shard | None = None,
    bridge: Bridge | None = None,
    listener: Listener = lambda _: None,
) -> None:
    """Run every cell, or those of one share; the records are in the store.

    Cells that share the rounds before the attack are one unit of work: their twin runs first and
    leaves the prefix. A cell that fails stays in the results as a failed one. On a cluster
    ``jobs`` is how many units may be out at once; its own size decides when left out.

    Raises:
        KeyboardInterrupt: stopped by the user; checkpoints are written.
        StoreError: the folder cannot be written any more; ``resume`` goes on.
        AsepsisError: a worker process died, ``resume`` goes on.
    """
    groups = grouped(plan.cells)
    groups = groups if shard is None else shard.of(groups)
    options = RunOptions(
        engine=engine, device=device, jobs=jobs, resume=resume, pseudonyms=pseudonyms
    )
    if bridge is not None:
        on_cluster(groups, store, options, listener, bridge)
        return
    if engine not in OWN_WORKERS and jobs is not None and jobs > 1 and len(groups) > 1:
        _in_processes(groups, store, min(jobs, len(groups)), options, listener)
        return
    for group in groups:
        run_group(group, store, options, listener)


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
