"""Whom defenses penalize and block, read back from records: honest hospitals too."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from asepsis.experiments.attacked import attacked, hostile_rows
from asepsis.experiments.results import Run
from asepsis.metrics.detection import FLAGGED_BELOW
from asepsis.metrics.intervals import Interval, t_interval

COUNTED = "penalized"
"""Measurement of a stage that counts penalties: the share of hospitals that got one."""


@dataclass(frozen=True, slots=True)
class Block:
    """From ``round`` (0-based) on, ``stage`` lets through next to nothing of a hospital."""

    stage: str
    hospital: int
    round: int
    share: float
    reason: str
    hostile: bool


def penalized(item: dict[str, Any]) -> set[int]:
    """Return whom the stages of one recorded round penalized.

    A stage that counts penalties says how many it gave; they went to those with the highest
    scores. What it lets through of them shrinks slowly, so that its verdicts say nothing of a
    single round. Any other penalizes whom the stages together let through by less than half.

    Example:
        >>> count = {"verdicts": {"0": 1, "1": 0.9}, "scores": {"0": 0.4, "1": 0.6}}
        >>> penalized({"stages": [{**count, "measurements": {"penalized": 0.5}}]})
        {1}
    """
    found: set[int] = set()
    shares: dict[int, float] = {}
    for stage in item.get("stages", ()):
        if _counts(stage):
            found |= _highest(stage)
            continue
        for client, share in stage["verdicts"].items():
            shares[int(client)] = shares.get(int(client), 1.0) * float(share)
    return found | {client for client, share in shares.items() if share < FLAGGED_BELOW}


def judged(item: dict[str, Any]) -> bool:
    """Whether any stage judged single hospitals in a recorded round."""
    return any(
        stage.get("scores") if _counts(stage) else stage["verdicts"]
        for stage in item.get("stages", ())
    )


def _counts(stage: dict[str, Any]) -> bool:
    return COUNTED in stage.get("measurements", {})


def _highest(stage: dict[str, Any]) -> set[int]:
    scores = {int(client): float(score) for client, score in (stage.get("scores") or {}).items()}
    number = round(float(stage["measurements"][COUNTED]) * len(scores))
    return set(sorted(scores, key=lambda client: -scores[client])[:number])


def blame(run: Run) -> tuple[int, int]:
    """Return in how many rounds somebody honest was penalized, and of how many judged ones.

    Of a run with an attack only the attacked rounds count.
    """
    rounds = [item for item in run.rounds if attacked(item)] or run.rounds
    rounds = [item for item in rounds if judged(item)]
    return sum(bool(penalized(item) - hostile_rows(item)) for item in rounds), len(rounds)


def blamed(runs: Iterable[Run]) -> Interval:
    """Return the share of judged rounds in which somebody honest was penalized, over seeds.

    Runs of one seed count as one: they share data and hospitals.
    """
    by_seed: dict[int, tuple[int, int]] = {}
    for run in runs:
        hits, of = blame(run)
        before = by_seed.get(run.cell.seed, (0, 0))
        by_seed[run.cell.seed] = (before[0] + hits, before[1] + of)
    return t_interval([hits / of if of else math.nan for hits, of in by_seed.values()])


def hostile(run: Run) -> set[int]:
    """Return the hospitals that attacked in a run."""
    return {int(client) for item in run.rounds for client in item.get("hostile", ())}


def blocks(run: Run) -> list[Block]:
    """Return who was blocked in a run, in the order in which it happened."""
    bad = hostile(run)
    found = [
        Block(
            str(entry["stage"]),
            int(entry["hospital"]),
            int(entry["round"]),
            float(entry.get("share", math.nan)),
            str(entry.get("reason") or ""),
            int(entry["hospital"]) in bad,
        )
        for entry in run.footer.get("blocked") or []
    ]
    return sorted(found, key=lambda block: (block.round, block.hospital))


def named(run: Run, hospital: int) -> str:
    """Return what a hospital is called in its data set."""
    names = run.resolved.get("hospitals", [])
    return str(names[hospital]) if 0 <= hospital < len(names) else f"hospital {hospital}"
