"""What happened in a round of a Flower app, for people and for metrics."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from asepsis.defenses.reports import StageReport

FLAGGED_BELOW = 0.5


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reply that did not become a row: whose, a word for counting, and what was wrong."""

    node: int
    reason: str
    detail: str


@dataclass(frozen=True, eq=False)
class RoundReport:
    """One round: who was asked, whose replies became rows, what every stage did.

    ``hospitals`` maps each hospital in the round to its Flower node (the same number where the
    team names no key). ``dropped`` had rows that were not finite. ``verdicts`` is the share of
    each hospital's row that all stages together let through, ``stages`` all that each said;
    ``changed`` there is how much a stage changed, its activation. ``void`` says why the model
    stayed as it was.
    """

    round: int
    asked: int
    hospitals: Mapping[int, int]
    refused: tuple[Refusal, ...] = ()
    dropped: tuple[int, ...] = ()
    stages: tuple[StageReport, ...] = ()
    void: str | None = None
    verdicts: Mapping[int, float] = field(default_factory=dict)

    @property
    def stopped(self) -> tuple[int, ...]:
        """Hospitals of whose row less than half got through."""
        return tuple(one for one, share in self.verdicts.items() if share < FLAGGED_BELOW)

    def record(self) -> dict[str, Any]:
        """Return it for a JSON file."""
        return {
            "round": self.round,
            "asked": self.asked,
            "hospitals": {str(one): node for one, node in self.hospitals.items()},
            "refused": [[one.node, one.reason, one.detail] for one in self.refused],
            "dropped": list(self.dropped),
            "stages": [stage.record() for stage in self.stages],
            "void": self.void,
            "verdicts": {str(one): share for one, share in self.verdicts.items()},
        }

    def metrics(self) -> dict[str, int | float]:
        """Return the figures that go beside the app's own metrics, all named ``asepsis/...``."""
        made: dict[str, int | float] = {
            "asepsis/asked": self.asked,
            "asepsis/rows": len(self.hospitals),
            "asepsis/refused": len(self.refused),
            "asepsis/dropped": len(self.dropped),
            "asepsis/stopped": len(self.stopped),
            "asepsis/void": int(self.void is not None),
        }
        for reason, count in sorted(Counter(one.reason for one in self.refused).items()):
            made[f"asepsis/refused/{reason}"] = count
        for stage in self.stages:
            if math.isfinite(stage.changed):
                made[f"asepsis/changed/{stage.name}"] = stage.changed
        return made

    def lines(self) -> Iterator[str]:
        """Tell it in a few lines for the server's log."""
        yield f"{len(self.hospitals)} of {self.asked} hospitals sent a usable update"
        for one in self.refused:
            yield f"refused node {one.node}: {one.reason} ({one.detail})"
        if self.dropped:
            yield f"dropped, not finite: {_some(self.dropped)}"
        for stage in self.stages:
            low = [one for one, share in stage.verdicts.items() if share < FLAGGED_BELOW]
            against = f", against {_some(low)}" if low else ""
            yield f"{stage.name} changed {stage.changed:.3g}{against}"
        if self.void is not None:
            yield f"the model stays as it was: {self.void}"


def _some(hospitals: tuple[int, ...] | list[int]) -> str:
    more = f" and {len(hospitals) - 10} more" if len(hospitals) > 10 else ""
    return ", ".join(map(str, hospitals[:10])) + more


def shares(
    hospitals: Mapping[int, int], dropped: tuple[int, ...], stages: tuple[StageReport, ...]
) -> dict[int, float]:
    """Return the share of each hospital's row that got through all stages together."""
    made = {one: 0.0 if one in dropped else 1.0 for one in hospitals}
    for stage in stages:
        for one, share in stage.verdicts.items():
            if one in made:
                made[one] *= share
    return made
