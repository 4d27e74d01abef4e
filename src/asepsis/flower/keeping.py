"""Files of a server: its ledger, and the state with which it goes on after it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from asepsis.core.errors import StoreError
from asepsis.core.stages import Audit
from asepsis.core.updates import State
from asepsis.defenses.audit.files import plain_file
from asepsis.flower.arrays import Array

FORMAT = "asepsis-flower-1"
LARGEST_STATE = 1 << 36


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A strategy between two rounds: what comes next is a function of it and of the replies."""

    about: Mapping[str, Any]
    arrays: Mapping[str, Array]
    pipeline: State
    audit: State


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Name the file in what the system says of it."""
    try:
        yield
    except OSError as error:
        raise StoreError(error.strerror or str(error), place=str(path)) from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all, readable by its owner only."""
    half = path.with_name(f".{path.name}.{os.getpid()}.half")
    with guarded(path):
        try:
            with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            os.replace(half, path)
        except OSError:
            half.unlink(missing_ok=True)
            raise


def save_state(path: Path, saved: Saved) -> None:
    """Write a state as safetensors, readable by its owner only: seeds of noise are in it.

    Raises:
        StoreError: it cannot be written.
    """
    tensors = {f"model/{name}": array for name, array in saved.arrays.items()}
    for place, state in (("state", saved.pipeline), ("audit", saved.audit)):
        tensors |= {f"{place}/{name}": value.numpy() for name, value in state.items()}
    about = {"format": FORMAT, "about": json.dumps({**saved.about, "order": list(saved.arrays)})}
    # A zero-dimensional array would become one of one dimension if it were made contiguous.
    whole = {name: array.copy(order="C") for name, array in tensors.items()}
    write_whole(path, save(whole, metadata=about))


def load_state(path: Path) -> Saved:
    """Read a state.

    Raises:
        StoreError: there is none, or it is damaged or not one of ours.
    """
    with guarded(path):
        if path.stat().st_size > LARGEST_STATE:
            raise StoreError("the state is too large", place=str(path))
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(metadata["about"])
        numbers = [about[name] for name in ("round", "seed")]
        arrays = {name: tensors[f"model/{name}"] for name in about.pop("order")}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, str(error)) from None
    if metadata.get("format") != FORMAT or not all(type(one) is int for one in numbers):
        raise _damaged(path, "another format")
    return Saved(about, arrays, _part(tensors, "state/"), _part(tensors, "audit/"))


def _part(tensors: Mapping[str, Array], prefix: str) -> State:
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in tensors.items()
        if name.startswith(prefix)
    }


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"this is not the state of a strategy, or it is damaged ({why[:200]})",
        place=str(path),
        fix="name a file that RobustStrategy.save wrote",
    )


@dataclass(slots=True)
class LedgerFile:
    """The file that a ledger's lines are appended to; it is never begun over another."""

    path: Path
    audit: Audit
    state: State = field(default_factory=dict)
    begun: bool = False

    def check(self) -> None:
        """Refuse a file that holds something which this ledger did not write.

        Raises:
            StoreError: it does.
        """
        if not self.begun and self.path.exists() and self.path.stat().st_size:
            raise StoreError(
                "the file holds something already, and a ledger is never written over",
                place=str(self.path),
                fix="name another file, or go on with RobustStrategy.restore",
            )

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines, and wait until they are on the disk."""
        self.check()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with guarded(self.path), open(plain_file(str(self.path), flags), "ab") as out:
            out.write(b"".join(line + b"\n" for line in lines))
            out.flush()
            os.fsync(out.fileno())
        self.begun = True

    def go_on(self, state: State) -> None:
        """Cut what was written after this state.

        Raises:
            StoreError: the file does not lead to it.
        """
        self.state = state
        if not state:
            return
        with guarded(self.path):
            lines = self.path.read_bytes().split(b"\n")
        try:
            kept = self.audit.kept(state, lines)
        except StoreError as error:
            raise StoreError(error.message, place=str(self.path), fix=error.fix) from None
        write_whole(self.path, b"".join(line + b"\n" for line in kept))
        self.begun = True
