"""What observers learned, read back from records: one figure a run, by observer and name."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from asepsis.experiments.figures import OBSERVE
from asepsis.experiments.results import WATCHING, Group, Run
from asepsis.metrics.intervals import Interval, t_interval

GATHERED = ("membership",)
"""Kinds of evidence that grow over rounds: the last says all; of others each stands alone."""


def observers(group: Group) -> dict[str, str]:
    """Return who claimed anything in a group's runs, with the kind of evidence."""
    items = [item for run, _ in group.good for item in _entries(run)]
    return {str(item["by"]): str(item["kind"]) for item in items}


def watchers(group: Group) -> list[str]:
    """Return who watched a group's runs, by the name in the record, whether it claimed or not."""
    named = [name for run in group.runs for name in watching(run)]
    return list(dict.fromkeys([*named, *observers(group)]))


def watching(run: Run) -> list[str]:
    """Return who watched a run, whether it claimed anything or not."""
    own = run.cell.spec.attack is not None and run.resolved.get("role") in WATCHING
    told = run.resolved.get("observe") or []
    return [*(["attack"] if own else []), *(str(item["name"]) for item in told)]


def voids(group: Group) -> tuple[int, int, str]:
    """Return how many rounds of a group's runs had no result, of how many, and why most of them."""
    rounds = [item["void"] for run, _ in group.good for item in run.rounds]
    reasons = Counter(str(void) for void in rounds if void is not None)
    why = reasons.most_common(1)[0][0] if reasons else ""
    return reasons.total(), len(rounds), why


def scored(run: Run, by: str) -> dict[str, float]:
    """Return what one observer's claims are worth: the last, or the mean over rounds.

    Figures that no round could estimate are NaN.
    """
    mine = [item for item in _entries(run) if item["by"] == by]
    if mine and mine[-1]["kind"] in GATHERED:
        mine = mine[-1:]
    names = dict.fromkeys(name for item in mine for name in item["scores"])
    return {name: _mean([item["scores"].get(name, math.nan) for item in mine]) for name in names}


def learned(group: Group, by: str, figure: str) -> Interval:
    """Return a figure over seeds; of a single run its own interval, over patients, if it has one.

    Bounds stand beside a figure as ``low`` and ``high``, or ``FIGURE_low`` and ``FIGURE_high``.
    """
    runs = [scored(run, by) for run, _ in group.good]
    values = [scores.get(figure, math.nan) for scores in runs]
    if len(runs) != 1:
        return t_interval(values)
    low, high = (_bound(runs[0], figure, end) for end in ("low", "high"))
    found = t_interval(values)
    known = math.isfinite(low) and math.isfinite(high)
    return Interval(found.mean, low, high, 1, math.nan) if known else found


def figure_of(run: Run, name: str) -> float:
    """Read a figure by its whole name, as a claim gives it."""
    wanted = name.removeprefix(OBSERVE)
    for item in _entries(run):
        by = str(item["by"])
        if wanted.startswith(f"{by}/"):
            return scored(run, by).get(wanted.removeprefix(f"{by}/"), math.nan)
    return math.nan


def _entries(run: Run) -> list[dict[str, Any]]:
    return list(run.footer.get("evidence") or [])


def _bound(scores: dict[str, float], figure: str, end: str) -> float:
    beside, _, last = figure.rpartition("/")
    prefix = f"{beside}/" if beside else ""
    name = f"{prefix}{end}" if last == "auc" else f"{figure}_{end}"
    return scores.get(name, math.nan)


def _mean(values: list[float]) -> float:
    known = [float(value) for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else math.nan
