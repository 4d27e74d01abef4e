"""Bytes between machines: a table of JSON, and files behind it. Nothing in it is ever executed."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from asepsis.core.errors import StoreError
from asepsis.experiments.store import LARGEST_CHECKPOINT, Store, guarded, write_atomic

LENGTH = struct.Struct(">Q")
LARGEST_HEAD = 1 << 26
LARGEST_MESSAGE = 1 << 36
GONE = -1
PLACE = re.compile(
    r"(?:(?:runs|prefixes|ledgers)/([\w-]+)\.jsonl"
    r"|(?:checkpoints|prefixes|artifacts)/([\w-]+)\.safetensors"
    r"|traces/([\w-]+)/\d+\.safetensors)",
    re.ASCII,
)
"""Where a run may leave files in a results folder."""
ORDER = ("traces", "artifacts", "ledgers", "prefixes", "runs", "checkpoints")
"""What a record speaks of is there before the record; a record is there before its checkpoint."""


@dataclass(frozen=True)
class Parcel:
    """What is told, and files by their place in a results folder; ``None``: it is gone."""

    told: dict[str, Any]
    files: dict[str, bytes | None] = field(default_factory=dict)

    def pack(self) -> bytes:
        """Return it as bytes."""
        sizes = [[k, GONE if v is None else len(v)] for k, v in self.files.items()]
        head = json.dumps({"told": self.told, "files": sizes}).encode()
        return b"".join([LENGTH.pack(len(head)), head, *(v for v in self.files.values() if v)])

    @classmethod
    def unpack(cls, content: bytes) -> Parcel:
        """Read what :meth:`pack` wrote.

        Raises:
            StoreError: it is something else.
        """
        try:
            (size,) = LENGTH.unpack_from(content)
            here = LENGTH.size + size
            if size > LARGEST_HEAD or here > len(content):
                raise ValueError
            head = json.loads(content[LENGTH.size : here])
            told, files = dict(head["told"]), dict[str, bytes | None]()
            for place, length in head["files"]:
                if not isinstance(length, int) or not GONE <= length <= LARGEST_CHECKPOINT:
                    raise ValueError
                end = here + max(length, 0)
                if end > len(content):
                    raise ValueError
                files[str(place)] = None if length == GONE else content[here:end]
                here = end
        except (KeyError, RecursionError, TypeError, ValueError, struct.error):
            raise StoreError("a message from the cluster is damaged") from None
        return cls(told, files)


def deliver(parcel: Parcel, store: Store, names: Collection[str]) -> None:
    """Write a parcel's files, so that a stop at any moment leaves a folder that can be resumed.

    ``names`` are those of the runs, prefixes and traces that it may bring.

    Raises:
        StoreError: a file has no place in the folder, or cannot be written.
    """
    for place, content in sorted(parcel.files.items(), key=_rank):
        found = PLACE.fullmatch(place)
        name = next((part for part in found.groups() if part), "") if found else ""
        if not any(name == known or name.startswith(f"{known}-") for known in names):
            raise StoreError("a message from the cluster holds a file of another run", got=place)
        path = store.root / place
        if content is None:
            with guarded(path):
                path.unlink(missing_ok=True)
            continue
        with guarded(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(path, content)


def _rank(item: tuple[str, bytes | None]) -> tuple[bool, int, str]:
    place, content = item
    folder = place.partition("/")[0]
    return content is None, ORDER.index(folder) if folder in ORDER else 0, place


def files_of(store: Store, names: Iterable[str]) -> dict[str, Path]:
    """Return the files that runs, prefixes and traces of some names have left, by their place."""
    found = [
        path
        for name in sorted(names)
        for path in (
            store.record(name),
            store.checkpoint(name),
            store.ledger(name),
            *store.prefix(name),
            *store.trace(name).glob("*.safetensors"),
            *(store.root / "artifacts").glob(f"{name}-*.safetensors"),
        )
    ]
    return {path.relative_to(store.root).as_posix(): path for path in found if path.is_file()}


class Changes:
    """What has changed in a results folder since it was last asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known = dict(self._marks())

    def _marks(self) -> Mapping[str, tuple[int, int, int]]:
        marks = {}
        for path in self._store.root.rglob("*"):
            place = path.relative_to(self._store.root).as_posix()
            if PLACE.fullmatch(place):
                about = path.stat()
                marks[place] = (about.st_mtime_ns, about.st_size, about.st_ino)
        return marks

    def take(self) -> dict[str, bytes | None]:
        """Return the new and changed files, and those that are gone."""
        now, before = self._marks(), self._known
        self._known = dict(now)
        changed = [place for place, mark in now.items() if before.get(place) != mark]
        files: dict[str, bytes | None] = dict.fromkeys(before.keys() - now.keys())
        return files | {place: (self._store.root / place).read_bytes() for place in changed}


def send(out: IO[bytes], content: bytes) -> None:
    """Write a message to a pipe."""
    out.write(LENGTH.pack(len(content)))
    out.write(content)
    out.flush()


def receive(source: IO[bytes]) -> bytes | None:
    """Read a message from a pipe; ``None`` at its end."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    if size > LARGEST_MESSAGE:
        return None
    content = source.read(size)
    return content if len(content) == size else None
