"""Fetch a file from its official place: bounded in time and size, checked, moved in atomically."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from asepsis.core.errors import DataError

CONNECT_SECONDS = 20.0
MAX_BYTES = 32 * 2**30
_CHUNK = 2**18
_LIMIT: ContextVar[float | None] = ContextVar("fetch_limit", default=None)


@contextlib.contextmanager
def fetch_limit(seconds: float | None) -> Iterator[None]:
    """Give up downloads after this many seconds in all; ``None`` waits as long as data flow.

    Example:
        >>> with fetch_limit(20.0):
        ...     pass
    """
    token = _LIMIT.set(seconds)
    try:
        yield
    finally:
        _LIMIT.reset(token)


def offline() -> bool:
    """Whether ``ASEPSIS_OFFLINE`` forbids downloads."""
    return os.environ.get("ASEPSIS_OFFLINE", "0") not in ("", "0")


def download(url: str, target: Path, md5: str | None, max_bytes: int = MAX_BYTES) -> Path:
    """Download ``url`` to ``target``; the file appears there whole and checked, or not at all.

    Raises:
        DataError: offline, unreachable, too slow, too large, or not the official file.
    """
    if offline():
        raise DataError("downloads are off", place=url, fix="unset ASEPSIS_OFFLINE")
    limit = _LIMIT.get()
    deadline = None if limit is None else time.monotonic() + limit
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as part:
            temporary = Path(part.name)
            try:
                got = _stream(url, part, deadline, max_bytes)
                part.close()
                _compare(url, got, md5)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DataError(f"cannot download: {reason}", place=url, fix=_by_hand(target)) from None
    return target


def _stream(url: str, part: IO[bytes], deadline: float | None, max_bytes: int) -> str:
    state, size = hashlib.md5(usedforsecurity=False), 0
    timeout = CONNECT_SECONDS
    if deadline is not None:
        timeout = max(0.1, min(timeout, deadline - time.monotonic()))
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        while chunk := answer.read1(_CHUNK):
            size += len(chunk)
            if size > max_bytes:
                raise DataError("larger than it may be", place=url, got=f"over {max_bytes} bytes")
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError("too slow for the time allowed")
            state.update(chunk)
            part.write(chunk)
        missing = int(answer.headers.get("Content-Length") or size) - size
    if missing > 0:
        raise ConnectionError(f"the connection broke {missing} bytes early")
    return state.hexdigest()


def _compare(url: str, got: str, md5: str | None) -> None:
    if md5 is not None and got != md5:
        raise DataError(
            f"this is not the official file: its MD5 should be {md5}", place=url, got=got
        )


def _by_hand(target: Path) -> str:
    return f"put the file into $ASEPSIS_DATA as {target.name}, or name it with the option 'path'"
