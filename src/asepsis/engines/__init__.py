"""The same round, executed elsewhere: serially, in threads, in processes, on Flower, batched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asepsis.core.engine import Engine
from asepsis.core.errors import ConfigError, did_you_mean

NUMERICS = {
    "serial": "reference",
    "threads": "reference",
    "pool": "reference",
    "flower": "reference",
    "batched": "batched",
}


@dataclass(frozen=True, kw_only=True)
class Wire:
    """How an engine whose hospitals are processes of their own deals with those.

    ``grid`` is Flower's, of nodes that are connected; ``None``: they are simulated here. A hospital
    has ``patience`` seconds for an answer, and is lost in that round without. ``quorum`` is the
    share of a round's hospitals that must answer, or the round is void.
    """

    grid: Any = None
    patience: float = 600.0
    quorum: float = 0.5


def make_engine(name: str, jobs: int | None = None, wire: Wire | None = None) -> Engine:
    """Build an engine by name.

    ``jobs`` is the number of workers (all cores when ``None``), ``wire`` for hospitals elsewhere.
    """
    if name == "serial":
        from asepsis.engines.serial import Serial

        return Serial()
    if name == "threads":
        from asepsis.engines.threads import Threads

        return Threads(jobs)
    if name == "pool":
        from asepsis.engines.pool import Pool

        return Pool(jobs)
    if name == "flower":
        from asepsis.engines.flower.engine import Flower

        there = wire or Wire()
        return Flower(jobs, grid=there.grid, patience=there.patience, quorum=there.quorum)
    if name == "batched":
        from asepsis.engines.batched import Batched

        return Batched()
    raise ConfigError("unknown engine", place="engine", got=name, fix=did_you_mean(name, NUMERICS))
