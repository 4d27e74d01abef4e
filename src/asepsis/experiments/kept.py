"""What a run goes on from: its own checkpoint, or the rounds before an attack, shared by cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asepsis.core.errors import StoreError
from asepsis.experiments.store import (
    Line,
    Record,
    Store,
    guarded,
    read_record,
    read_tensors,
    rounds_of,
    write_tensors,
)
from asepsis.federation.federation import RoundState


class Taken(NamedTuple):
    """A state, the lines of the rounds before it, and how many of them another run has played."""

    state: RoundState
    lines: list[Line]
    reused: int = 0


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A run's checkpoint and shared prefix in a store.

    ``prefix`` names the rounds before ``starts_at``, ``None`` where they are not shared; ``fresh``
    tells whether a record is of this code and these data.
    """

    store: Store
    name: str
    prefix: str | None
    starts_at: int
    device: str
    fresh: Callable[[list[Line]], bool]

    def taken(self, *, resume: bool) -> Taken | None:
        """Take up the checkpoint, else the shared prefix; ``None``: from the beginning."""
        own = self.store.checkpoint(self.name)
        found = self._taken_up(self.store.record(self.name), own) if resume else None
        if found is not None:
            return found
        self.store.forget(self.name)  # the record starts over: an old state must not outlive it
        return self._shared(self.prefix) if self.prefix is not None else None

    def _shared(self, prefix: str) -> Taken | None:
        """Take up a shared prefix, and copy the pictures of its rounds."""
        found = self._taken_up(*self.store.prefix(prefix))
        if found is not None:
            self.store.share_artifacts(prefix, self.name, self.starts_at)
            return found._replace(reused=self.starts_at)
        return None

    def _taken_up(self, record: Path, checkpoint: Path) -> Taken | None:
        """Return a kept state and the rounds before it, if this code and these data left them."""
        state = read_state(checkpoint)
        if state is None:
            return None
        state = state.to(self.device)
        lines = read_record(record)
        kept = [line for line in rounds_of(lines) if line["result"]["round"] < state.round]
        if not self.fresh(lines) or len(kept) != state.round:
            return None
        return Taken(state, kept, reused_in(lines))

    def leave_prefix(self, state: RoundState, lines: list[Line]) -> None:
        """Keep the rounds before the attack for the other cells of the study."""
        if self.prefix is None or state.round != self.starts_at:
            return
        record, checkpoint = self.store.prefix(self.prefix)
        if checkpoint.exists() and self.fresh(read_record(record)):
            return
        with guarded(checkpoint):
            checkpoint.unlink(missing_ok=True)  # an old state is none of a new record
        Record(record, lines[: self.starts_at + 1])
        self.store.share_artifacts(self.name, self.prefix, self.starts_at)
        write_tensors(checkpoint, state.tensors())

    def save(self, state: RoundState) -> None:
        """Write the checkpoint."""
        write_tensors(self.store.checkpoint(self.name), state.tensors())


def reused_in(lines: list[Line]) -> int:
    """Return how many of its rounds a run took from another one."""
    observed = lines[0].get("observed", {}) if lines else {}
    return int(observed.get("reused", 0))


def read_state(path: Path) -> RoundState | None:
    """Read where a run goes on, or ``None`` where nothing is kept.

    Raises:
        StoreError: the file is corrupt, too large, or holds no state of a run.
    """
    tensors = read_tensors(path)
    if tensors is None:
        return None
    try:
        return RoundState.from_tensors(tensors)
    except (LookupError, ValueError, RuntimeError, OverflowError):
        raise StoreError(
            "the checkpoint holds no state of a run",
            place=str(path),
            fix="delete it and run again",
        ) from None
