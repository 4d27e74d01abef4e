"""A TCP proxy on loopback: it records what crosses, and can delay it, lose it, or cut the line."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from types import TracebackType

PIECE = 1 << 16
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Piece:
    """Bytes that arrived at the proxy together.

    Args:
        connection: number of the connection, from 0.
        up: from who connected to whom they reached.
        at: seconds since the proxy started.
        data: the bytes.
    """

    connection: int
    up: bool
    at: float
    data: bytes


class Proxy:
    """Passes TCP connections on to one address; listens on loopback alone.

    Args:
        target: host and port of the other side.
        delay: seconds that every byte is late, each way; may be changed at any time.
        keep: bytes that are recorded at most; ``dropped`` counts what came later.

    Example:
        >>> with Proxy(("127.0.0.1", 9)) as proxy:
        ...     proxy.address.partition(":")[0], proxy.pieces
        ('127.0.0.1', [])
    """

    def __init__(self, target: tuple[str, int], *, delay: float = 0.0, keep: int = 1 << 28) -> None:
        self._target, self.delay, self._keep = target, delay, keep
        self.pieces: list[Piece] = []
        self.dropped = 0
        self._cut = self._closed = self._silent = False
        self._budget: dict[bool, int | None] = {True: None, False: None}
        self._lock, self._count, self._open = Lock(), 0, set[socket.socket]()
        self._start = time.monotonic()
        self._listener = socket.create_server((LOOPBACK, 0))
        Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def address(self) -> str:
        """``host:port`` to connect to instead of the target."""
        return f"{LOOPBACK}:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """End all connections, and every new one at once, until ``mend``."""
        self._cut = True
        self._end()

    def silence(self) -> None:
        """Swallow everything, with all connections left open, until ``mend``.

        As behind a firewall that has forgotten a connection: nobody is told. What was swallowed
        is lost, so the connections of that time end with ``mend``.
        """
        self._silent = True

    def truncate(self, after: int, *, up: bool) -> None:
        """Let so many bytes pass one way, then end that connection, once."""
        self._budget[up] = after

    def mend(self) -> None:
        """Let everything pass again."""
        self._cut = False
        if self._silent:
            self._end()
        self._silent = False

    def close(self) -> None:
        """Stop listening and end all connections."""
        self._closed = True
        with suppress(OSError):  # wakes the thread that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                near.close()
                continue
            try:
                far = socket.create_connection(self._target, timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._join(near, far)

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        with self._lock:
            number, self._count = self._count, self._count + 1
            self._open |= {near, far}
        for source, sink, up in ((near, far, True), (far, near, False)):
            late: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
            Thread(target=self._read, args=(number, source, sink, up, late), daemon=True).start()
            Thread(target=self._write, args=(sink, late), daemon=True).start()

    def _read(
        self,
        number: int,
        source: socket.socket,
        sink: socket.socket,
        up: bool,
        late: SimpleQueue[tuple[float, bytes]],
    ) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                self._record(Piece(number, up, time.monotonic() - self._start, data))
                if self._silent:
                    continue
                passed = self._allowed(data, up)
                late.put((time.monotonic() + self.delay, passed))
                if len(passed) < len(data):
                    time.sleep(self.delay + 0.1)  # what is allowed gets through
                    _hang_up(source, sink)
                    break
        late.put((time.monotonic() + self.delay, b""))

    @staticmethod
    def _write(sink: socket.socket, late: SimpleQueue[tuple[float, bytes]]) -> None:
        with suppress(OSError):
            while True:
                due, data = late.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)

    def _record(self, piece: Piece) -> None:
        with self._lock:
            if self._keep >= len(piece.data):
                self._keep -= len(piece.data)
                self.pieces.append(piece)
            else:
                self._keep = 0
                self.dropped += len(piece.data)

    def _allowed(self, data: bytes, up: bool) -> bytes:
        with self._lock:
            budget = self._budget[up]
            if budget is None:
                return data
            self._budget[up] = budget - len(data) if len(data) <= budget else None
            return data[:budget]

    def _end(self) -> None:
        with self._lock:
            ended, self._open = self._open, set()
        _hang_up(*ended)


def _hang_up(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


def bytes_of(pieces: Sequence[Piece], connection: int, *, up: bool) -> bytes:
    """All bytes of a connection in one direction.

    Example:
        >>> bytes_of([Piece(0, True, 0.0, b"a"), Piece(0, False, 0.1, b"b")], 0, up=True)
        b'a'
    """
    return b"".join(p.data for p in pieces if p.connection == connection and p.up == up)
