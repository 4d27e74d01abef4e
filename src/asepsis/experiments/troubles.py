"""What went wrong without ending a run, and whom defenses shut out: read off a run's rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

BLOCKED = 0.01
"""A hospital of whose updates less than this share is let through is blocked."""
DIVERGED = 1e3
"""A hospital whose loss is so many times the others' has diverged."""
STOOD_OUT = "its update stood out"

Round = Mapping[str, Any]
Found = dict[str, Any]


def troubles(rounds: list[Round]) -> list[Found]:
    """Return what went wrong: ``what``, at which ``hospital`` (None: all), in which ``rounds``.

    ``mode collapse``: generated images are nearly all one. ``loss is no number``, ``began
    afresh`` (what a hospital had kept was no number, and it started over), ``diverged hospital``
    (its loss is more than 1,000 times the larger of 1 and the median of all), ``update is no
    number`` (dropped at the door).
    """
    seen: dict[tuple[str, int | None], list[int]] = {}
    for item in rounds:
        for what, hospital in _of(item):
            seen.setdefault((what, hospital), []).append(item["round"])
    return [
        {"what": what, "hospital": hospital, "rounds": when}
        for (what, hospital), when in seen.items()
    ]


def _of(item: Round) -> Iterable[tuple[str, int | None]]:
    if item["metrics"].get("collapsed") == 1:
        yield "mode collapse", None
    yield from (("update is no number", client) for client in item["dropped"])
    yield from (("began afresh", client) for client in item.get("afresh", ()))
    if "critic_loss" not in item:
        return
    losses = {int(client): float(loss) for client, loss in item["train_loss"].items()}
    known = [abs(loss) for loss in losses.values() if math.isfinite(loss)]
    most = DIVERGED * max(1.0, median(known)) if known else math.inf
    for client, loss in losses.items():
        if not math.isfinite(loss):
            yield "loss is no number", client
        elif abs(loss) > most:
            yield "diverged hospital", client


def blocked(rounds: list[Round], why: Mapping[str, str]) -> list[Found]:
    """Return who was blocked by which stage, from which round on, for which reason.

    A hospital is blocked from the first round after which the stage never lets through 1 % of its
    updates again, to the end; ``share`` is what is let through in the last round it was judged in.
    ``why`` is what each stage has to say for itself.
    """
    last: dict[tuple[str, int], tuple[int | None, float]] = {}
    for item in rounds:
        for stage in item["stages"]:
            for client, share in stage["verdicts"].items():
                key = stage["name"], int(client)
                since = last.get(key, (None, 1.0))[0]
                low = float(share) < BLOCKED
                begun = item["round"] if since is None else since
                last[key] = (begun if low else None, float(share))
    return [
        {
            "stage": stage,
            "hospital": client,
            "round": since,
            "share": share,
            "reason": why.get(stage, STOOD_OUT),
        }
        for (stage, client), (since, share) in sorted(last.items())
        if since is not None
    ]
