"""Finished runs for trackers that people already use: parameters, tags, figures by round.

Only what the record's figures and specification say goes out: no path, no name of a hospital or a
class, nothing of single hospitals or patients, no picture, no model. Figures that are not
estimable are left out, since a tracker would draw them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from asepsis.experiments.compare import flat, protocol_of
from asepsis.experiments.results import Results, Run
from asepsis.experiments.shown import under_pseudonyms
from asepsis.report.provenance import without_files

FORBIDDEN = re.compile(r"[^\w\-. :/]", re.ASCII)
"""What a name of a parameter or figure may not hold at any tracker."""
LONGEST = 250


@dataclass(frozen=True)
class Point:
    """One figure of one round."""

    name: str
    step: int
    value: float


@dataclass(frozen=True)
class Told:
    """What a tracker is told of a run; ``name`` is the same whenever it is told again."""

    name: str
    title: str
    study: str
    ended: bool
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: tuple[Point, ...]


class Tracker(Protocol):
    """Where runs are told to."""

    def log(self, run: Told) -> bool:
        """Take a run; ``False`` when it was there already."""
        ...


def track(results: Results, tracker: Tracker) -> tuple[int, int]:
    """Tell a tracker of every run that has begun; returns how many were new, and how many known."""
    new = [tracker.log(item) for item in told(under_pseudonyms(results))]
    return sum(new), len(new) - sum(new)


def told(results: Results) -> Iterable[Told]:
    """Return what is told of every run that has begun, in the order of the plan."""
    for run in results.runs:
        if run.lines and run.resolved:
            yield _told(run, results.study.name)


def _told(run: Run, study: str) -> Told:
    cell, head = run.cell, run.lines[0]["result"]
    name = tidy(str(head.get("digest", "")))
    labels = "".join(f" · {key}={value}" for key, value in cell.labels)
    tags = {
        "study": study,
        "scenario": cell.scenario,
        "attack": f"{cell.attack}{labels}",
        "defense": cell.defense,
        "status": run.footer["status"],
        "protocol": run.resolved.get("protocol", ""),
        "data": run.resolved.get("data", ""),
        "code": head.get("code", ""),
        "numerics": head.get("numerics", ""),
        "run": name,
    }
    return Told(
        name=name,
        title=f"{cell.scenario}: {cell.attack}{labels} / {cell.defense}, seed {cell.seed}",
        study=study,
        ended=run.ok,
        params=_params(run),
        tags={f"asepsis.{key}": str(value) for key, value in tags.items()},
        points=tuple(_points(run)),
    )


def _params(run: Run) -> dict[str, str]:
    spec = run.cell.spec
    asked = {
        **protocol_of(run, seeds=False),
        "attack": spec.attack or "none",
        "defenses": list(spec.defenses),
        "seed": spec.seed,
        "partition_seed": spec.partition_seed,
    }
    found = flat("", without_files(asked))
    return {tidy(key): value[:LONGEST] for key, value in found.items()}


def _points(run: Run) -> Iterable[Point]:
    for item in run.rounds:
        metrics = {**item.get("metrics", {}), "hostile": len(item.get("hostile", []))}
        for name, value in metrics.items():
            if _kept(name, value):
                yield Point(tidy(name), int(item["round"]), float(value))
    last = len(run.rounds)
    for name, value in run.footer.get("tail", {}).items():
        if _kept(name, value):
            yield Point(f"tail/{tidy(name)}", last, float(value))


def _kept(name: str, value: Any) -> bool:
    """Leave out what is not estimable, and what a twin says of attacks that nobody made."""
    return math.isfinite(float(value)) and not (name.startswith("floor") and "/" in name)


def tidy(name: str) -> str:
    """Return a name that every tracker takes.

    Example:
        >>> tidy("defenses[0].f"), tidy("accuracy")
        ('defenses_0_.f', 'accuracy')
    """
    return FORBIDDEN.sub("_", name)[:LONGEST]
