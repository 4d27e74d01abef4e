"""TensorBoard's event files, written without TensorBoard.

An event file is a sequence of records (length, its checksum, content, its checksum), each a
serialized ``Event``; only the few fields that scalars and text need are written. Source: the
format as documented by TensorFlow (``record_writer``, ``event.proto``, ``summary.proto``).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from asepsis.experiments.store import write_atomic
from asepsis.report.tracking import Told

FILE = "events.out.tfevents.0000000000.asepsis"
"""TensorBoard looks for the middle of it; the usual name would tell the machine's."""
VERSION = "brain.Event:2"
VARINT, DOUBLE, BYTES, FLOAT = 0, 1, 2, 5
STRING = 7
"""TensorFlow's type of text."""


class EventFiles:
    """Writes every run into a folder of its own, whole or not at all, 0600."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def log(self, run: Told) -> bool:
        """Write a run; a finished file of the same content is left alone."""
        folder = self.root / re.sub(r"\W+", "-", run.name)
        content = events(run)
        path = folder / FILE
        if path.exists() and path.read_bytes() == content:
            return False
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        write_atomic(path, content)
        return True


def events(run: Told) -> bytes:
    """Return a run as an event file; the same run gives the same bytes."""
    about = _table({"run": run.title, **run.tags, **run.params})
    made = [_bytes(3, VERSION.encode()), _summary(_text("about", about), 0)]
    made += [
        _summary(_bytes(1, point.name.encode()) + _key(2, FLOAT) + _float(point.value), point.step)
        for point in run.points
    ]
    return b"".join(record(_key(1, DOUBLE) + struct.pack("<d", 0.0) + event) for event in made)


def record(content: bytes) -> bytes:
    """Frame one record."""
    length = struct.pack("<Q", len(content))
    return length + _sum(length) + content + _sum(content)


def _table(rows: Mapping[str, str]) -> str:
    """Return Markdown; what TensorBoard would take for markup is escaped."""
    lines = [f"| {_plain(key)} | {_plain(value)} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _plain(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|])", r"\\\1", escaped).replace("\n", " ")


def _summary(value: bytes, step: int) -> bytes:
    return _key(2, VARINT) + _varint(step) + _bytes(5, _bytes(1, value))


def _text(name: str, text: str) -> bytes:
    shape = _bytes(2, _bytes(2, _key(1, VARINT) + _varint(1)))
    tensor = _key(1, VARINT) + _varint(STRING) + shape + _bytes(8, text.encode())
    plugin = _bytes(1, _bytes(1, b"text"))
    return _bytes(1, name.encode()) + _bytes(8, tensor) + _bytes(9, plugin)


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _bytes(number: int, content: bytes) -> bytes:
    return _key(number, BYTES) + _varint(len(content)) + content


def _float(value: float) -> bytes:
    """Return four bytes; what is beyond them becomes infinite, as in TensorFlow."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _sum(content: bytes) -> bytes:
    """Return the masked checksum."""
    found = crc32c(content)
    return struct.pack("<I", ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(content: bytes) -> int:
    """Return the Castagnoli checksum.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    table, found = _castagnoli(), 0xFFFFFFFF
    for byte in content:
        found = table[(found ^ byte) & 0xFF] ^ found >> 8
    return found ^ 0xFFFFFFFF


@cache
def _castagnoli() -> tuple[int, ...]:
    return tuple(_entry(number) for number in range(256))


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value
