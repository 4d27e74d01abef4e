"""What stages say of a round: reports, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asepsis.core.updates import Aggregate


@dataclass(frozen=True, eq=False)
class StageReport:
    """What one stage did in one round: ``changed`` is its activation proof.

    For a channel the share of rows it withheld; for a screen the share of rows it changed,
    distrusted or dropped; for a rule the distance of its result from the nearer of the weighted
    and the plain mean of what it received, relative to that mean's norm; for a release how far
    it moved the aggregate, relative to that.
    """

    name: str
    room: str
    changed: float
    measurements: Mapping[str, float]
    verdicts: Mapping[int, float] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)
    monitors: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the report for the record."""
        scores = {"scores": _by_text(self.scores)} if self.scores else {}
        return {
            "name": self.name,
            "room": self.room,
            "changed": self.changed,
            "measurements": dict(self.measurements),
            "verdicts": _by_text(self.verdicts),
            **scores,
        }


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a delivery: an aggregate, or the reason why the round is void."""

    aggregate: Aggregate | None
    void: str | None = None
    dropped: tuple[int, ...] = ()
    stages: tuple[StageReport, ...] = ()

    def record(self) -> list[dict[str, Any]]:
        """Return the stages' reports for the record."""
        return [stage.record() for stage in self.stages]

    def monitors(self) -> dict[str, dict[str, float]]:
        """Return what monitors scored, by detector and hospital, for the record."""
        return {
            name: _by_text(said) for stage in self.stages for name, said in stage.monitors.items()
        }


def _by_text(values: Mapping[int, float]) -> dict[str, float]:
    return {str(client): float(value) for client, value in values.items()}
