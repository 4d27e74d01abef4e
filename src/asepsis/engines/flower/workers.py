"""Worker processes that run a ClientApp: one that dies costs one message and is replaced."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock
from typing import Any

import torch

from asepsis.core.errors import AsepsisError
from asepsis.engines.processes import end_with_parent, interrupts_held

Setup = tuple[Callable[..., None], tuple[Any, ...]]
_PLACE = "flower simulation"
_SPAWN = multiprocessing.get_context("spawn")
_PATIENCE = 2.0
"""Seconds that an idle process has to end by itself."""


class AppError(Exception):
    """The ClientApp raised; the text says what."""


def load_app(app: str) -> Any:
    """Import what ``package.module:attribute`` names."""
    module, _, attribute = app.partition(":")
    if not attribute:
        raise AsepsisError("no app", place=_PLACE, got=app, fix="write package.module:attribute")
    return getattr(importlib.import_module(module), attribute)


def _serve(pipe: Connection, app: str, setup: Setup) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    try:
        setup[0](*setup[1])
        run = load_app(app)
    except BaseException as error:  # noqa: BLE001 (reported by the parent)
        pipe.send((False, _said(error)))
        return
    pipe.send((True, None))
    while True:
        try:
            message, context = pipe.recv()
        except EOFError:
            return
        _answer(pipe, run, message, context)


def _answer(pipe: Connection, run: Any, message: Any, context: Any) -> None:
    try:
        reply = run(message=message, context=context)
        if reply.metadata.reply_to_message_id != message.metadata.message_id:
            raise ValueError("the app's answer is no reply to the message it got")
        pipe.send((True, (reply, context)))
    except BaseException as error:  # noqa: BLE001 (an app may even call sys.exit)
        pipe.send((False, _said(error)))


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


class _Worker:
    def __init__(self, app: str, setup: Setup) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(theirs, app, setup), daemon=True)
        self.busy = Lock()
        with interrupts_held():
            self.process.start()
        theirs.close()  # so that a read ends when the process does

    def receive(self) -> Any:
        try:
            fine, answer = self.pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if not fine:
            raise AppError(answer)
        return answer

    def ask(self, message: Any, context: Any) -> Any:
        with self.busy:
            try:
                self.pipe.send((message, context))
            except OSError:
                raise self._died() from None
            return self.receive()

    def _died(self) -> AsepsisError:
        self.process.join(_PATIENCE)
        return AsepsisError(
            "a worker process died (out of memory, or killed)",
            place=_PLACE,
            got=f"exit code {self.process.exitcode}",
        )

    def dismiss(self) -> None:
        if self.busy.acquire(blocking=False):
            self.pipe.close()  # the process reads the end and goes
            self.busy.release()
        else:
            self.process.kill()

    def bury(self) -> None:
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


class Workers:
    """A fixed number of processes, each with the app loaded, started afresh (``spawn``).

    Args:
        app: ``package.module:attribute`` of a ClientApp, imported in the processes.
        count: how many processes.
        setup: a picklable function and its arguments, called in each process before the import.
    """

    def __init__(self, app: str, count: int, setup: Setup) -> None:
        self._app, self._count, self._setup = app, count, setup
        self._all: list[_Worker] = []
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._lock = Lock()
        self._closed = False

    def start(self) -> None:
        """Start the processes and wait until each has loaded the app; raises AsepsisError."""
        for worker in [self._begin() for _ in range(self._count)]:
            self._ready(worker)
            self._idle.put(worker)

    def run(self, message: Any, context: Any) -> Any:
        """Run the app on one message; return its reply and the context.

        Raises AppError if the app raised, AsepsisError if its process died.
        """
        worker = self._idle.get()
        try:
            if not worker.process.is_alive():
                worker = self._replace(worker)
            return worker.ask(message, context)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Stop all processes, even those at work."""
        with self._lock:
            self._closed = True
            for worker in self._all:
                worker.dismiss()
            for worker in self._all:
                worker.bury()
            self._all.clear()

    def _begin(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise AsepsisError("the workers are closed", place=_PLACE)
            worker = _Worker(self._app, self._setup)
            self._all.append(worker)
        return worker

    def _replace(self, dead: _Worker) -> _Worker:
        fresh = self._begin()
        with self._lock:
            self._all = [worker for worker in self._all if worker is not dead]
        self._ready(fresh)
        return fresh

    def _ready(self, worker: _Worker) -> None:
        try:
            worker.receive()
        except AppError as error:
            raise AsepsisError(f"a worker process cannot start: {error}", place=_PLACE) from None
