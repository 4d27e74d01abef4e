"""Which run of the experiment is played now: the server says so, hospitals say they can.

A hospital answers with what would make its part another one: its code, and its data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from asepsis.core.errors import AsepsisError, ConfigError
from asepsis.engines.flower.client import PARTITION
from asepsis.engines.flower.messages import VERSION, WireError, content, plain

CELL = "cell"
WAITING = 600.0
PATIENCE = 300.0
LOOK = 1.0
PAUSE = 0.3
ASKED = {"version": int, "cell": str}
ANSWERED = {"version": int, "client": int, "code": str, "data": str, "refused": str}

Teller = Callable[[str], None]


@dataclass(frozen=True)
class Same:
    """What has to be the same on all sides."""

    code: str
    data: str

    def check(self, said: Mapping[str, Any]) -> None:
        """Refuse a hospital that would play another experiment.

        Raises:
            ConfigError: it refuses, or has other code or data.
        """
        place = f"hospital {said['client']}"
        if said["refused"]:
            raise ConfigError(f"cannot take part: {said['refused']}", place=place)
        for what in ("code", "data"):
            if said[what] != getattr(self, what):
                raise ConfigError(
                    f"it has other {what} than the server",
                    place=place,
                    got=said[what][:40],
                    fix="install the same asepsis" if what == "code" else "bring the same data",
                )


class Prompt:
    """A Flower grid that looks for answers more often than every three seconds."""

    def __init__(self, grid: Any) -> None:
        self._grid = grid

    def get_node_ids(self) -> list[int]:
        """Return who is connected."""
        return list(self._grid.get_node_ids())

    def send_and_receive(
        self, messages: Iterable[Any], *, timeout: float | None = None
    ) -> list[Any]:
        """Send messages and return the answers that came in time."""
        open_ = set(self._grid.push_messages(messages))
        until = None if timeout is None else time.monotonic() + timeout
        found: list[Any] = []
        while open_:
            new = list(self._grid.pull_messages(open_))
            open_ -= {message.metadata.reply_to_message_id for message in new}
            found += new
            if until is not None and time.monotonic() > until:
                break
            if open_:
                time.sleep(PAUSE)
        return found


def announce(
    grid: Any, cell: str, count: int, same: Same, tell: Teller, seconds: float = WAITING
) -> None:
    """Tell every hospital what is played, waiting until all are connected.

    Raises:
        AsepsisError: hospitals are missing, or cannot play it.
        ConfigError: two nodes say they are the same hospital, or one that does not exist.
    """
    until, shown = time.monotonic() + seconds, -1
    known: dict[int, int] = {}
    while len(known) < count:
        new = [node for node in grid.get_node_ids() if node not in known.values()]
        for node, said in _asked(grid, new, cell):
            _check_place(said["client"], known, count)
            same.check(said)
            known[said["client"]] = node
        if len(known) < count:
            if time.monotonic() > until:
                raise _missing(count, known, seconds)
            if shown != len(known):
                tell(f"{len(known)} of {count} hospitals are connected")
            shown = len(known)
            time.sleep(LOOK)


def _missing(count: int, known: Mapping[int, int], seconds: float) -> AsepsisError:
    missing = [number for number in range(count) if number not in known]
    return AsepsisError(
        f"hospitals are missing after {seconds:.0f} s",
        place=PARTITION,
        got=missing[:20],
        fix="start their SuperNodes, and register their keys",
    )


def _check_place(number: int, known: Mapping[int, int], count: int) -> None:
    if not 0 <= number < count:
        raise ConfigError(
            "a node says it is a hospital that does not exist",
            place=PARTITION,
            got=number,
            fix=f"hospitals are numbered 0 to {count - 1}",
        )
    if number in known:
        raise ConfigError(
            "two nodes say they are the same hospital",
            place=PARTITION,
            got=number,
            fix="give every site its own file of sites/",
        )


def _asked(grid: Any, nodes: list[int], cell: str) -> list[tuple[int, dict[str, Any]]]:
    """Ask nodes; who does not answer, or fails, is asked again later."""
    if not nodes:
        return []
    from flwr.app import Message

    kind, record = f"query.{CELL}", content({"version": VERSION, "cell": cell})
    asked = [Message(record, dst_node_id=node, message_type=kind) for node in nodes]
    replies = grid.send_and_receive(asked, timeout=PATIENCE)
    return [(r.metadata.src_node_id, _read(r.content)) for r in replies if not r.has_error()]


def _read(record: Any) -> dict[str, Any]:
    try:
        return plain(record, ANSWERED)
    except WireError as error:
        raise AsepsisError(f"a node does not speak our protocol: {error}") from None
