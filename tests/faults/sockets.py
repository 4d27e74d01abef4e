"""Who listens where, as Linux tells it."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LISTENING = "0A"
INODE = re.compile(r"socket:\[(\d+)\]")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def listening(pids: Iterable[int]) -> dict[int, set[tuple[Address, int]]]:
    """Return the addresses that each of some processes listens on."""
    where = {inode: place for table in ("tcp", "tcp6") for inode, place in _table(table)}
    found = {pid: {where[inode] for inode in _sockets(pid) if inode in where} for pid in pids}
    return {pid: places for pid, places in found.items() if places}


def _table(name: str) -> list[tuple[str, tuple[Address, int]]]:
    lines = [line.split() for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return [(f[9], _place(f[1])) for f in lines if f[3] == LISTENING]


def _place(text: str) -> tuple[Address, int]:
    """Read an address as the kernel writes it: words of four bytes, each in its own byte order."""
    host, port = text.split(":")
    words = [bytes.fromhex(host[k : k + 8])[::-1] for k in range(0, len(host), 8)]
    return ipaddress.ip_address(b"".join(words)), int(port, 16)


def _sockets(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                match = INODE.fullmatch(os.readlink(link))
                found |= {match[1]} if match else set()
    return found
