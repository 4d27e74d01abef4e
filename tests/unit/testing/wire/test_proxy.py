"""The proxy passes bytes on as they are, records them, and breaks lines when told."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from asepsis.testing.wire.proxy import LOOPBACK, Proxy, bytes_of


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets."""
    server = socket.create_server((LOOPBACK, 0))

    def answer(one: socket.socket) -> None:
        with one:
            while data := one.recv(1 << 16):
                one.sendall(data)

    def serve() -> None:
        while True:
            try:
                one, _ = server.accept()
            except OSError:
                return
            Thread(target=answer, args=(one,), daemon=True).start()

    Thread(target=serve, daemon=True).start()
    yield server.getsockname()
    server.close()


def connect(proxy: Proxy) -> socket.socket:
    host, _, port = proxy.address.partition(":")
    return socket.create_connection((host, int(port)), timeout=5)


def ask(line: socket.socket, data: bytes) -> bytes:
    line.sendall(data)
    got = b""
    while len(got) < len(data) and (piece := line.recv(1 << 16)):
        got += piece
    return got


def test_bytes_pass_unchanged_and_are_recorded_both_ways(echo: tuple[str, int]) -> None:
    data = bytes(range(256)) * 4000
    with Proxy(echo) as proxy, connect(proxy) as first, connect(proxy) as second:
        assert ask(first, data) == data
        assert ask(second, b"hello") == b"hello"
        assert bytes_of(proxy.pieces, 0, up=True) == data
        assert bytes_of(proxy.pieces, 0, up=False) == data
        assert bytes_of(proxy.pieces, 1, up=True) == b"hello"


def test_a_server_that_closes_is_seen_through_the_proxy(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy, connect(proxy) as line:
        line.sendall(b"last")
        line.shutdown(socket.SHUT_WR)
        assert line.recv(10) == b"last"
        assert line.recv(10) == b""


def test_a_delay_is_had_each_way(echo: tuple[str, int]) -> None:
    with Proxy(echo, delay=0.15) as proxy, connect(proxy) as line:
        began = time.monotonic()
        assert ask(line, b"x" * 300_000) == b"x" * 300_000
        assert 0.3 <= time.monotonic() - began < 2


def test_a_cut_line_ends_and_refuses_until_it_is_mended(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy:
        with connect(proxy) as line:
            assert ask(line, b"a") == b"a"
            proxy.cut()
            assert line.recv(1) == b""
        with connect(proxy) as line:
            assert line.recv(1) == b""
        proxy.mend()
        with connect(proxy) as line:
            assert ask(line, b"b") == b"b"


def test_a_silent_line_stays_open_and_answers_nothing(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy, connect(proxy) as line:
        assert ask(line, b"a") == b"a"
        proxy.silence()
        line.sendall(b"lost")
        line.settimeout(0.2)
        with pytest.raises(TimeoutError):
            line.recv(1)
        proxy.mend()
        with connect(proxy) as fresh:
            assert ask(fresh, b"b") == b"b"


def test_a_truncated_answer_ends_where_it_was_told(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy:
        proxy.truncate(1000, up=False)
        with connect(proxy) as line:
            line.sendall(b"y" * 5000)
            got = b""
            try:
                while piece := line.recv(1 << 16):
                    got += piece
            except ConnectionResetError:
                pass
            assert got == b"y" * 1000
        with connect(proxy) as line:
            assert ask(line, b"z" * 5000) == b"z" * 5000


def test_memory_for_what_is_recorded_is_bounded(echo: tuple[str, int]) -> None:
    with Proxy(echo, keep=1000) as proxy, connect(proxy) as line:
        assert ask(line, b"x" * 900_000) == b"x" * 900_000
        assert sum(len(piece.data) for piece in proxy.pieces) <= 1000
        assert proxy.dropped >= 1_700_000


def test_the_proxy_listens_on_loopback_alone_and_closes(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy:
        port = int(proxy.address.partition(":")[2])
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert {r[1] for r in rows if r[1].endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}
    with pytest.raises(OSError):
        socket.create_connection((LOOPBACK, port), timeout=1)
