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
from threading import Event, Thread, main_thread
from typing import Any

from asepsis.core.errors import AsepsisError, ConfigError, MissingExtraError
from asepsis.engines.flower.workers import AppError, Setup, Workers

_PLACE = "flower simulation"
_RUN = 1
"""Flower keeps the run's number once a process: with one number for all, simulations get on."""
_PULL = 0.02
"""Seconds between two looks for replies (Flower's own default is 0.1)."""
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

    def set(self) -> None:
        super().set()
        self.pushed.set()

    def wait(self, timeout: float | None = None) -> bool:
        self.pushed.wait(timeout)
        self.pushed.clear()
        return self.is_set()


class _Backend:
    """What Flower's runtime asks of a backend, on worker processes that are already there."""

    def __init__(self, workers: Workers, count: int, failure: type[Exception]) -> None:
        self._workers, self.num_workers, self._failure = workers, count, failure

    def build(self, app_fn: object) -> None:
        """Do nothing: the app is loaded in the processes."""

    def process_message(self, message: Any, context: Any) -> Any:
        try:
            return self._workers.run(message, context)
        except AppError as error:
            raise self._failure(str(error)) from None

    def terminate(self) -> None:
        self._workers.close()


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
        self._thread: Thread | None = None
        self._stop = _Stop()

    def start(self) -> Any:
        """Start everything and return the grid, with all nodes registered.

        Raises MissingExtraError without Flower, ConfigError for a Flower that is made otherwise,
        AsepsisError if a worker process cannot load the app.
        """
        self.close()
        flower = _flower()
        self._stop = _Stop()
        logging.getLogger("flwr").addFilter(self._silent)
        self._workers = Workers(self._app, self._count, self._setup)
        try:
            grid = self._prepare(flower, self._workers)
            self._workers.start()
            self._begin()
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
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()
        self._thread = None
        logging.getLogger("flwr").removeFilter(self._silent)

    def _prepare(self, flower: Any, workers: Workers) -> Any:
        try:
            factory, run = _registered(flower)
            nodes = flower.vce._register_nodes(self._nodes, factory)
            homes = flower.vce._register_node_info_stores(nodes, run)
            backend = _Backend(workers, self._count, flower.ClientAppException)
            grid = _grid(flower, factory, self._stop)
            grid.set_run(run)
            loops, metrics = _held(flower.vce.run_api), flower.VceMetrics()
        except (AttributeError, TypeError) as error:
            raise _otherwise(error) from error
        args = (None, lambda: backend, nodes, factory, homes, self._stop, metrics)
        self._thread = Thread(target=loops, args=args, name="flower-simulation", daemon=True)
        return grid

    def _begin(self) -> None:
        assert self._thread is not None
        self._thread.start()
        watch = Thread(target=_end_with, args=(main_thread(), self._stop), daemon=True)
        watch.start()

    @staticmethod
    def _silent(record: logging.LogRecord) -> bool:
        """Let Flower's lines through only if its own log level was asked for."""
        return "FLWR_LOG_LEVEL" in os.environ


def quiet() -> None:
    """Switch off Flower's and Ray's telemetry and update check, before they are imported."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def _held(run_api: Callable[..., None]) -> Callable[..., None]:
    def run(*args: Any) -> None:
        try:
            run_api(*args)
        except RuntimeError:  # the stop event is set: the grid says so to who asks
            return

    return run


def _end_with(thread: Thread, stop: Event) -> None:
    # At exit Python waits for Flower's threads, which wait for the stop event.
    thread.join()
    stop.set()


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
            _check(stop)
            pushed = super().push_messages(messages)
            stop.pushed.set()
            return pushed

        def pull_messages(self, message_ids: Iterable[str]) -> Any:
            _check(stop)
            return super().pull_messages(message_ids)

    return Grid(factory, pull_interval=_PULL)


def _check(stop: Event) -> None:
    if stop.is_set():
        raise AsepsisError("the simulation has stopped", place=_PLACE)


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
