"""Who is there: which of Flower's nodes is which hospital."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from asepsis.core.errors import AsepsisError, ConfigError

PARTITION = "partition-id"
ANSWER = "asepsis"
WAITING = 600.0
PATIENCE = 60.0


def roll_call(
    grid: Any, count: int, tell: Callable[[str], None], seconds: float = WAITING
) -> dict[int, int]:
    """Return the node of every hospital, waiting until all are connected.

    Raises:
        AsepsisError: hospitals are missing.
        ConfigError: two nodes say they are the same hospital, or one that does not exist.
    """
    known: dict[int, int] = {}
    until, shown = time.monotonic() + seconds, -1
    while len(known) < count:
        new = [node for node in grid.get_node_ids() if node not in known.values()]
        known |= _asked(grid, new, known, count) if new else {}
        if time.monotonic() > until:
            missing = sorted(set(range(count)) - set(known))
            raise AsepsisError(
                f"hospitals are missing after {seconds:.0f} s",
                place=PARTITION,
                got=missing,
                fix="start their SuperNodes, and register their keys",
            )
        if len(known) < count:
            if shown != len(known):
                tell(f"{len(known)} of {count} hospitals are connected")
            shown = len(known)
            time.sleep(1.0)
    return known


def _asked(grid: Any, nodes: list[int], known: Mapping[int, int], count: int) -> dict[int, int]:
    from flwr.app import Message, RecordDict

    asked = [Message(RecordDict(), node, "query") for node in nodes]
    found: dict[int, int] = {}
    for reply in grid.send_and_receive(asked, timeout=PATIENCE):
        if reply.has_error():
            continue
        number = dict(reply.content.get(ANSWER, {})).get(PARTITION)
        if not isinstance(number, int) or not 0 <= number < count:
            raise ConfigError(
                "a node says it is a hospital that does not exist",
                place=PARTITION,
                got=number,
                fix=f"hospitals are numbered 0 to {count - 1}",
            )
        if number in found or number in known:
            raise ConfigError(
                "two nodes say they are the same hospital",
                place=PARTITION,
                got=number,
                fix="give every site its own file of sites/",
            )
        found[number] = reply.metadata.src_node_id
    return found
