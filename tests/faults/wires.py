"""Lines between one server and its hospitals that can be late, lossy or cut.

``Packets`` is a network of namespaces: IP packets pass through this process, which loses and delays
them (the kernel's own ``netem`` is not everywhere), and TCP sees what it would see on a bad line.
``Streams`` needs no rights: TCP proxies on loopback, late or silent, but a stream loses nothing.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from heapq import heappop, heappush
from pathlib import Path
from threading import Thread
from typing import Protocol

from asepsis.testing.wire.proxy import LOOPBACK, Proxy

TUN = Path("/dev/net/tun")
SET_INTERFACE, TUN_PLAIN = 0x400454CA, 0x1001
LONGEST = 1 << 16
SERVER = 0


class Wires(Protocol):
    """Hospitals are numbered from 0."""

    host: str
    """Where the server listens."""
    loses: bool
    """Whether ``lose`` can be asked for."""

    def at_server(self) -> list[str]: ...

    def at_hospital(self, number: int) -> list[str]: ...

    def address(self, number: int) -> str: ...

    def delay(self, number: int, seconds: float) -> None: ...

    def lose(self, number: int, share: float) -> None: ...

    def cut(self, number: int) -> None: ...

    def mend(self, number: int) -> None: ...


class Streams:
    """A proxy for each hospital; a cut line swallows all and tells nobody."""

    host, loses = LOOPBACK, False

    def __init__(self, proxies: list[Proxy]) -> None:
        self.proxies = proxies

    def at_server(self) -> list[str]:
        return []

    def at_hospital(self, number: int) -> list[str]:
        return []

    def address(self, number: int) -> str:
        return self.proxies[number].address

    def delay(self, number: int, seconds: float) -> None:
        self.proxies[number].delay = seconds

    def lose(self, number: int, share: float) -> None:
        raise NotImplementedError("a stream loses nothing")

    def cut(self, number: int) -> None:
        self.proxies[number].silence()

    def mend(self, number: int) -> None:
        self.proxies[number].mend()


class Packets:
    """Namespaces joined by tun devices; place 0 is the server's, hospital k has place k + 1."""

    host, loses = "10.77.0.1", True

    def __init__(self, count: int, port: int, seed: int = 0) -> None:
        self._port, self._rng = port, random.Random(seed)
        self._names = [f"asepsis-{os.getpid()}-{place}" for place in range(count + 1)]
        self._late, self._loss = [0.0] * (count + 1), [0.0] * (count + 1)
        self._cut = [False] * (count + 1)
        self._files: list[int] = []
        self._closed = False
        self._thread = Thread(target=self._carry, name="packets", daemon=True)
        self.carried = self.lost = 0

    def open(self) -> None:
        """Make the namespaces; raises OSError or CalledProcessError where that is not allowed."""
        for place, name in enumerate(self._names):
            _ip("netns", "add", name)
            device = f"as{os.getpid() % 100000}x{place}"
            file = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
            self._files.append(file)
            fcntl.ioctl(
                file, SET_INTERFACE, struct.pack("16sH22s", device.encode(), TUN_PLAIN, b"")
            )
            _ip("link", "set", device, "netns", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "address", "add", f"10.77.0.{place + 1}/24", "dev", device)
            _ip("-n", name, "link", "set", device, "up")
        self._thread.start()

    def close(self) -> None:
        """Take the namespaces away."""
        self._closed = True
        if self._thread.ident is not None:
            self._thread.join()
        for file in self._files:
            os.close(file)
        for name in self._names:
            with suppress(OSError, subprocess.CalledProcessError):
                _ip("netns", "delete", name)

    def at_server(self) -> list[str]:
        return ["ip", "netns", "exec", self._names[SERVER]]

    def at_hospital(self, number: int) -> list[str]:
        return ["ip", "netns", "exec", self._names[number + 1]]

    def address(self, number: int) -> str:
        return f"{self.host}:{self._port}"

    def delay(self, number: int, seconds: float) -> None:
        self._late[number + 1] = seconds

    def lose(self, number: int, share: float) -> None:
        self._loss[number + 1] = share

    def cut(self, number: int) -> None:
        self._cut[number + 1] = True

    def mend(self, number: int) -> None:
        self._cut[number + 1] = False

    def _carry(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []
        count = 0
        while not self._closed:
            pause = max(0.0, min(0.2, waiting[0][0] - time.monotonic())) if waiting else 0.2
            for file in select.select(self._files, [], [], pause)[0]:
                count += 1
                self._take(file, count, waiting)
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, place, packet = heappop(waiting)
                with suppress(OSError):  # a full queue loses packets, as queues do
                    os.write(self._files[place], packet)

    def _take(self, file: int, count: int, waiting: list[tuple[float, int, int, bytes]]) -> None:
        packet = os.read(file, LONGEST)
        here = self._files.index(file)
        there = (
            packet[19] - 1 if packet[0] >> 4 == 4 and packet[16:19] == bytes([10, 77, 0]) else -1
        )
        if not 0 <= there < len(self._files):
            return
        self.carried += 1
        far = max(here, there)  # the hospital's place: the server's line is fine
        if self._cut[far] or self._rng.random() < self._loss[far]:
            self.lost += 1
            return
        heappush(waiting, (time.monotonic() + self._late[far], count, there, packet))


@contextmanager
def wires(count: int, port: int, *, namespaces: bool = True) -> Iterator[Wires]:
    """Namespaces where they are allowed and wanted, else proxies; says which on standard error."""
    with ExitStack() as stack:
        if namespaces:
            packets = Packets(count, port)
            stack.callback(packets.close)
            try:
                packets.open()
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"no namespaces here ({error}): proxies, which lose nothing", file=sys.stderr)
            else:
                yield packets
                return
        target = (LOOPBACK, port)
        yield Streams([stack.enter_context(Proxy(target)) for _ in range(count)])


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)
