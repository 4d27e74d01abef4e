"""One writer at a time: locks that end with the process that holds them, whatever ended it.

Both are held by the operating system, not by a file's being there: after ``kill -9`` nothing is
left to remove by hand. File systems without locks (a network one, mounted so) lock nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from asepsis.core.errors import StoreError
from asepsis.experiments.store import guarded

try:
    import fcntl
except ImportError:  # not on this system: two writers are then the user's to avoid
    fcntl = None  # type: ignore[assignment]

FOLDER, RUNS = ".lock", ".runs.lock"
LOCKS = (FOLDER, RUNS)
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
DYING = 5.0
"""Seconds that a worker may take to notice that the process which started it is gone."""
LARGEST_NOTE = 1000


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold a results folder for this process alone.

    Raises:
        StoreError: another process is writing to it; the message names it.
    """
    if fcntl is None:
        yield
        return
    with _held(root) as handle:
        _note(handle, {"process": os.getpid(), "host": platform.node()})
        try:
            yield
        finally:
            _note(handle, None)


@contextmanager
def shared(root: Path) -> Iterator[None]:
    """Hold a results folder beside others who hold it so; each run is still one process's alone.

    Raises:
        StoreError: a process has the folder for itself.
    """
    if fcntl is None:
        yield
        return
    with _held(root, fcntl.LOCK_SH):
        yield


@contextmanager
def _held(root: Path, how: int | None = None) -> Iterator[IO[bytes]]:
    path = root / FOLDER
    while True:
        with guarded(path):
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(number, "r+b", buffering=0) as handle:
            if not _taken(fcntl.flock, number, (how or fcntl.LOCK_EX) | fcntl.LOCK_NB):
                raise _busy(root, handle)
            if _is_there(path, number):  # else it was removed with its folder meanwhile
                yield handle
                return


def _is_there(path: Path, number: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except OSError:
        return False


@contextmanager
def run_locked(root: Path, name: str, patience: float = DYING) -> Iterator[None]:
    """Hold one run of a results folder.

    A worker outlives the process that started it by a moment: whoever goes on waits for it.

    Raises:
        StoreError: another process plays this run.
    """
    if fcntl is None:
        yield
        return
    path, byte = root / RUNS, int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])
    with guarded(path):
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with open(number, "r+b", buffering=0):  # closing it lets go of the byte
        until = time.monotonic() + patience
        while not _taken(fcntl.lockf, number, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte):
            if time.monotonic() > until:
                raise StoreError(
                    f"another asepsis plays run {name}",
                    place=str(root),
                    fix="wait for it, or end it, and go on with --resume",
                )
            time.sleep(0.05)
        yield


def _taken(take: Callable[..., object], *how: int) -> bool:
    """Whether a lock is ours; where the file system has none, as if it were."""
    try:
        take(*how)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    return True


def _note(handle: IO[bytes], content: dict[str, Any] | None) -> None:
    """Write down who holds the folder; a full disk is found elsewhere."""
    with suppress(OSError):
        handle.seek(0)
        handle.truncate()
        if content is not None:
            handle.write(json.dumps(content).encode())


def _busy(root: Path, handle: IO[bytes]) -> StoreError:
    holder, fix = "", "wait for it"
    try:
        note = json.loads(handle.read(LARGEST_NOTE))
        process, host = int(note["process"]), str(note["host"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass  # it is only just beginning
    else:
        holder = f" (process {process} on {host})"
        fix += f", end it (kill {process})" if host == platform.node() else f", end it on {host}"
    return StoreError(
        f"another asepsis is writing here{holder}",
        place=str(root),
        fix=f"{fix}, or choose another place with --out DIR",
    )
