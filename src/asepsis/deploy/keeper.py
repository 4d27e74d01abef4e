"""A process that starts others and ends with them: nothing it started outlives it.

It is run as a script by its path (the standard library is all it imports), with a folder that it
deletes at the end. It reads orders as lines of JSON from standard input and answers with lines of
JSON on standard output::

    {"start": "superlink", "argv": [...], "env": {...}, "log": "/path"}
    -> {"started": "superlink", "pid": 12}      or {"failed": "superlink", "why": "..."}
    -> {"ended": "superlink", "code": -9}       whenever that happens

When its input ends (the launcher stopped, or was killed) or it is told to end by SIGTERM, it ends
everything below it, politely and then by force, and deletes the folder. On Linux orphans below it
become its own children, and what it started dies with it should it be killed itself; elsewhere it
ends the process groups it made.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

LINUX = sys.platform.startswith("linux")
SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
POLITE = 4.0
FORCED = 5.0
LONGEST_ORDER = 1 << 20


def _prctl(option: int, value: int) -> None:
    """Ask the kernel for something; where it refuses, process groups have to do."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _die_with_keeper() -> None:
    """Run in a new child: die when the keeper dies."""
    _prctl(SET_PDEATHSIG, signal.SIGKILL)


def parents() -> dict[int, int]:
    """Return every process's parent, empty where there is no ``/proc``."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold anything, parentheses and spaces included.
            fields = place.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                found[int(place.parent.name)] = int(fields[1])
    return found


def below(root: int, tree: dict[int, int] | None = None) -> set[int]:
    """Return all living processes below one, itself left out.

    Example:
        >>> sorted(below(1, {2: 1, 3: 2, 5: 4}))
        [2, 3]
    """
    tree = parents() if tree is None else tree
    found: set[int] = set()
    while True:
        more = {pid for pid, parent in tree.items() if parent in found | {root}} - found
        if not more:
            return found
        found |= more


def _send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


class Keeper:
    """What was started, by name."""

    def __init__(self, answer: Callable[[dict[str, Any]], None]) -> None:
        self._answer = answer
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._groups: list[int] = []

    def obey(self, order: dict[str, Any]) -> None:
        """Start a process in a session of its own; what it says goes to its log."""
        name, log = order["start"], order["log"]
        try:
            with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as out:
                process = subprocess.Popen(
                    order["argv"],
                    env=order["env"],
                    cwd=order.get("cwd"),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_die_with_keeper if LINUX else None,
                )
        except OSError as error:
            self._answer({"failed": name, "why": error.strerror or str(error)})
            return
        self._running[name] = process
        self._groups.append(process.pid)
        self._answer({"started": name, "pid": process.pid})

    def look(self) -> None:
        """Say who ended."""
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                del self._running[name]
                self._answer({"ended": name, "code": process.returncode})

    def end(self) -> None:
        """End everything below, politely and then by force, until nothing is left."""
        self._signal(signal.SIGTERM)
        if not self._gone_by(time.monotonic() + POLITE):
            until = time.monotonic() + FORCED
            while not self._gone_by(time.monotonic() + 0.2) and time.monotonic() < until:
                self._signal(signal.SIGKILL)

    def _left(self) -> set[int]:
        for process in self._running.values():
            process.poll()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if LINUX:
            return below(os.getpid())
        return {pid for pid in self._groups if _group_lives(pid)}

    def _signal(self, number: int) -> None:
        if LINUX:
            _send(self._left(), number)
            return
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)

    def _gone_by(self, until: float) -> bool:
        while self._left():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _Told(BaseException):
    """SIGTERM arrived."""


def _raise_told(number: int, frame: FrameType | None) -> None:
    raise _Told


def _write(message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: the input ends, too
        os.write(1, json.dumps(message).encode() + b"\n")


def _serve(keeper: Keeper) -> None:
    rest = b""
    with selectors.DefaultSelector() as waiting:
        waiting.register(0, selectors.EVENT_READ)
        while True:
            if waiting.select(0.1):
                read = os.read(0, 1 << 16)
                if not read or len(rest) > LONGEST_ORDER:
                    return
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    keeper.obey(json.loads(line))
            keeper.look()


def main(folder: str) -> None:
    """Serve until the input ends; leave nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher's to answer
    signal.signal(signal.SIGTERM, _raise_told)
    if LINUX:
        _prctl(SET_CHILD_SUBREAPER, 1)
    keeper = Keeper(_write)
    try:
        with contextlib.suppress(_Told):
            _serve(keeper)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        keeper.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
