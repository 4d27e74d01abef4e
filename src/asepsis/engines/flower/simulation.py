"""Flower's simulation runtime on processes of this machine: no Ray, and nothing listens.

Flower's own link state, grid, message queues and worker loops run in threads of this process, with
a backend that hands each message to a worker process. All that Flower calls internal is used in
this module alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from importlib.metadata import version
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from asepsis.core.errors import AsepsisError, ConfigError, MissingExtraError
from asepsis.engines.flower.workers import AppError, Setup, Workers

_PLACE = "flower simulation"
_RUN = 1
"""Flower keeps the run's number once a process: with one number for all, simulations get on."""
_PULL = 0.02
"""Seconds between two looks for replies (Flower's own default is 0.1)."""
_Loop = tuple[Callable[..., None], tuple[Any, ...]]
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class _Stop(Event):
    """Flower's stop event; its waits end early when messages were pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.pushed = Event()
        self.why: str | None = None

    def guard(self, loop: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Run one of Flower's loops; a loop that fails stops all, for nobody would answer."""
        try:
            loop(*args)
        except Exception as error:  # noqa: BLE001 (told to who asks the grid)
            self.why = f"{type(error).__name__}: {error}"
            self.set()

    def check(self) -> None:
        """Raise AsepsisError once all has stopped."""
        if self.is_set():
            raise AsepsisError("the simulation has stopped", place=_PLACE, got=self.why)

    def set(self) -> None:
        super().set()
        self.pushed.set()

    def wait(self, timeout: float | None = None) -> bool:
        self.pushed.wait(timeout)
        self.pushed.clear()
        return self.is_set()


class _Messages(SimpleQueue[Any]):
    """A queue where None stands for nothing there."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        message = super().get(block, timeout)
        if message is None:
            raise Empty
        return message


class _Backend:
    """What Flower's loops ask of a backend, on worker processes that are already there."""

    def __init__(self, workers: Workers, failure: type[Exception]) -> None:
        self._workers, self._failure = workers, failure

    def process_message(self, message: Any, context: Any) -> Any:
        try:
            return self._workers.run(message, context)
        except AppError as error:
            raise self._failure(str(error)) from None


class Simulation:
    """Flower's simulation runtime on worker processes of this machine.

    A message whose ClientApp raises, or whose process dies, is answered with an error; the process
    is replaced for the next message.

    Args:
        app: ``package.module:attribute`` of a ClientApp, imported in the worker processes.
        nodes: how many nodes take part; their ``partition-id`` is 0 to nodes - 1.
        workers: how many worker processes.
        setup: a picklable function and its arguments, called once in every worker process before
            the app is imported.
    """

    def __init__(self, app: str, nodes: int, workers: int, setup: Setup) -> None:
        self._app, self._nodes, self._setup = app, nodes, setup
        self._count = min(workers, nodes)
        self._workers: Workers | None = None
        self._threads: list[Thread] = []
        self._fresh()

    def start(self) -> Any:
        """Start everything and return the grid, with all nodes registered.

        Raises MissingExtraError without Flower, ConfigError for a Flower that is made otherwise,
        AsepsisError if a worker process cannot load the app.
        """
        self.close()
        flower = _flower()
        self._fresh()
        logging.getLogger("flwr").addFilter(self._silent)
        self._workers = Workers(self._app, self._count, self._setup)
        try:
            grid = self._prepare(flower, self._workers)
            self._workers.start()
            for thread in self._threads:
                thread.start()
        except BaseException:
            self.close()
            raise
        return grid

    def close(self) -> None:
        """Stop the threads and the processes; what waits at the grid gets an AsepsisError."""
        self._stop.set()
        if self._workers is not None:
            self._workers.close()
            self._workers = None
        for _ in self._threads:  # so that nobody waits for a message
            self._asked.put(None)
            self._answered.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._threads = []
        logging.getLogger("flwr").removeFilter(self._silent)

    def _fresh(self) -> None:
        self._stop, self._asked, self._answered = _Stop(), _Messages(), _Messages()

    def _prepare(self, flower: Any, workers: Workers) -> Any:
        try:
            factory, run = _registered(flower)
            nodes = flower.vce._register_nodes(self._nodes, factory)
            homes = flower.vce._register_node_info_stores(nodes, run)
            backend = _Backend(workers, flower.ClientAppException)
            state, metrics = factory.state(), flower.VceMetrics()
            work = (self._asked, self._answered, homes, backend, self._stop, metrics)
            loops: list[_Loop] = [(flower.vce.worker, work)] * self._count
            loops += [
                (flower.vce.add_messages_to_queue, (state, self._asked, nodes, self._stop)),
                (flower.vce.put_message_into_state, (state, self._answered, self._stop)),
            ]
            grid = _grid(flower, factory, self._stop)
            grid.set_run(run)
        except (AttributeError, TypeError) as error:
            raise _otherwise(error) from error
        self._threads = [
            Thread(target=self._stop.guard, args=(loop, args), name="flower", daemon=True)
            for loop, args in loops
        ]
        return grid

    @staticmethod
    def _silent(record: logging.LogRecord) -> bool:
        """Let Flower's lines through only if its own log level was asked for."""
        return "FLWR_LOG_LEVEL" in os.environ


def quiet() -> None:
    """Switch off Flower's and Ray's telemetry and update check, before they are imported."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def _registered(flower: Any) -> tuple[Any, Any]:
    """A link state with one run, whose identity messages of this process carry."""
    factory = flower.LinkStateFactory(
        flower.FLWR_IN_MEMORY_DB_NAME, flower.NoOpFederationManager(), flower.ObjectStoreFactory()
    )
    run = flower.Run.create_empty(run_id=_RUN)
    run.primary_task_id = _RUN
    run.federation_id = flower.NOOP_FEDERATION_ID
    state = factory.state()
    state.run_ids[_RUN] = flower.RunRecord(run=run)
    state.task_store[_RUN] = flower.Task(task_id=_RUN, run_id=_RUN)
    flower.TaskIdentity.task_id = _RUN
    flower.TaskIdentity.run_id = _RUN
    flower.TaskIdentity.node_id = flower.SUPERLINK_NODE_ID
    return factory, run


def _grid(flower: Any, factory: Any, stop: _Stop) -> Any:
    """Flower's grid; pushing wakes the runtime, and nobody waits for one that has stopped."""

    class Grid(flower.InMemoryGrid):  # type: ignore[misc]
        def push_messages(self, messages: Iterable[Any]) -> Any:
            stop.check()
            pushed = super().push_messages(messages)
            stop.pushed.set()
            return pushed

        def pull_messages(self, message_ids: Iterable[str]) -> Any:
            stop.check()
            return super().pull_messages(message_ids)

    return Grid(factory, pull_interval=_PULL)


def _flower() -> Any:
    """The parts of Flower that are used here, in one namespace."""
    quiet()
    try:
        import flwr
    except ImportError:
        raise MissingExtraError("flwr", "flower") from None
    try:
        from asepsis.engines.flower import internals
    except ImportError as error:
        raise _otherwise(error) from error
    del flwr
    return internals


def _otherwise(error: Exception) -> ConfigError:
    return ConfigError(
        f"this Flower is made otherwise: {error}",
        place=_PLACE,
        got=f"flwr {version('flwr')}",
        fix="install flwr 1.41",
    )
