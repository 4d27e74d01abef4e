"""The plots of an assessment: the search in one, harm before and after in the other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from asepsis.assess.outcome import Candidate, Finding, Measured, Outcome
from asepsis.assess.search import LEAST_LIMIT
from asepsis.assess.tables import ordered, role
from asepsis.assess.words import clean
from asepsis.experiments.threats import threat
from asepsis.metrics.intervals import Interval
from asepsis.report.plots import (
    INK,
    SERIES,
    SIZE,
    Plot,
    dress,
    finished,
    legend,
    panels,
    safe,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = {
    "recommended": ("recommended", "D", SERIES[0]),
    "judged": ("judged", "D", SERIES[0]),
    "today": ("today", "s", SERIES[1]),
    "front": ("on the front", "o", SERIES[2]),
    "other": ("other", "x", SERIES[5]),
}
LABEL = 44
ROW = 0.42
EDGE = (-10.0, 105.0)


def worst_multiple(outcome: Outcome, one: Candidate) -> float:
    """Return a stack's largest harm as a multiple of its own limit; goals are never compared."""
    found = [
        value / max(outcome.limits.of(threat(key).goal), LEAST_LIMIT)
        for key, value in one.harm.items()
        if math.isfinite(value)
    ]
    return max(found, default=math.nan)


def front_plot(outcome: Outcome) -> Plot | None:
    """Plot every stack that was tried: its price against its largest harm; none, no plot."""
    tried = [
        (place, one, worst_multiple(outcome, one))
        for place, one in enumerate(ordered(outcome), start=1)
        if not one.refused and math.isfinite(one.utility)
    ]
    known = [(place, one, worst) for place, one, worst in tried if math.isfinite(worst)]
    if len(known) < 2:
        return None
    figure, (axes,) = panels(len(SHOWN) - 1)
    for what in reversed(SHOWN):
        mine = [item for item in known if role(outcome, item[1]) == what]
        _dots(axes, what, mine)
    axes.axhline(1, color=INK, lw=1, ls=":")
    axes.axvline(outcome.limits.utility, color=INK, lw=1, ls=":")
    dress(axes, "price without attack, points", "largest harm / its limit")
    legend(figure)
    return finished(figure, "front", "Stacks of the search, by number; dotted: your limits")


def _dots(axes: Axes, what: str, mine: list[tuple[int, Candidate, float]]) -> None:
    if not mine:
        return
    label, marker, color = SHOWN[what]
    across = [100 * one.utility for _, one, _ in mine]
    up = [worst for _, _, worst in mine]
    axes.plot(across, up, marker, color=color, ms=6, label=label, ls="")
    for where, label in _labels(mine).items():
        near, unit = (4, 3), "offset points"
        axes.annotate(label, where, xytext=near, textcoords=unit, fontsize=7.5, color=INK)


def _labels(mine: list[tuple[int, Candidate, float]]) -> dict[tuple[float, float], str]:
    """Number the dots; those that fall together share a label."""
    at: dict[tuple[float, float], list[str]] = {}
    for place, one, worst in mine:
        at.setdefault((round(100 * one.utility, 1), round(worst, 1)), []).append(str(place))
    return {where: ", ".join(places) for where, places in at.items()}


def harm_plot(outcome: Outcome) -> Plot | None:
    """Plot what every attack does today and under the judged stack, with intervals and limits."""
    rows = [
        (finding, part)
        for finding in outcome.findings
        for part in finding.parts
        if math.isfinite(part.before.mean) or math.isfinite(part.after.mean)
    ]
    if not rows:
        return None
    figure, (axes,) = panels(2)
    figure.set_size_inches(SIZE[0], ROW * len(rows) + 1.0)
    for place, (finding, part) in enumerate(rows):
        _row(axes, -place, finding, part)
    dress(axes, "harm, points; a bar is the limit", "")
    axes.set_yticks([])
    axes.set_xlim(*EDGE)
    axes.set_ylim(-len(rows) + 0.4, 0.8)
    axes.plot([], [], "s", color=SERIES[1], ms=4, label="today")
    axes.plot([], [], "o", color=SERIES[0], ms=4, label="stack judged")
    legend(figure)
    return finished(figure, "harm", "Harm by attack, with 95% intervals over fresh seeds")


def _row(axes: Axes, height: float, finding: Finding, part: Measured) -> None:
    name = f"{finding.threat.title}: {clean(part.attack)}"
    label = name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"
    if part.adaptive:
        label += " *"
    axes.text(EDGE[0] + 1, height + 0.3, safe(label), fontsize=7, color=INK)
    _bar(axes, height + 0.08, part.before, SERIES[1], "s")
    _bar(axes, height - 0.12, part.after, SERIES[0], "o")
    limit = 100 * finding.limit
    axes.plot([limit, limit], [height - 0.22, height + 0.2], color=INK, lw=1)


def _bar(axes: Axes, height: float, interval: Interval, color: str, marker: str) -> None:
    if math.isfinite(interval.low):
        ends = [100 * interval.low, 100 * interval.high]
        axes.plot(ends, [height, height], color=color, lw=1.6)
    axes.plot([100 * interval.mean], [height], marker, color=color, ms=4)
