"""The same round, executed elsewhere: serially, in threads, in processes, batched."""

from __future__ import annotations

from asepsis.core.engine import Engine
from asepsis.core.errors import ConfigError, did_you_mean

NUMERICS = {
    "serial": "reference",
    "threads": "reference",
    "pool": "reference",
    "batched": "batched",
}


def make_engine(name: str, jobs: int | None = None) -> Engine:
    """Build an engine by name; ``jobs`` is the number of workers (all cores when ``None``)."""
    if name == "serial":
        from asepsis.engines.serial import Serial

        return Serial()
    if name == "threads":
        from asepsis.engines.threads import Threads

        return Threads(jobs)
    if name == "pool":
        from asepsis.engines.pool import Pool

        return Pool(jobs)
    if name == "batched":
        from asepsis.engines.batched import Batched

        return Batched()
    raise ConfigError("unknown engine", place="engine", got=name, fix=did_you_mean(name, NUMERICS))
