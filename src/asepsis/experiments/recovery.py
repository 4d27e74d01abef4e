"""What a robust rule gives back of what the plain mean lost, with each hospital hostile in turn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from asepsis.experiments.naming import row_label
from asepsis.experiments.results import Group
from asepsis.metrics.intervals import Interval, t_interval
from asepsis.metrics.measures import floor_name, measure


def recovered(robust: Group, plain: Group) -> dict[int, float]:
    """Return, by seed, the share of the plain stack's loss that the robust one does not have.

    ``(robust - plain) / (plain's twin - plain)`` of the primary metric: 1 is the clean model of
    the plain stack, 0 no help, below 0 harm; the same of a metric of which less is better. NaN
    where the plain stack lost less than a grain, of which nobody can say what share came back.
    """
    name = robust.primary
    kind = measure(name)
    lost = {
        run.cell.seed: (run.tail(name), twin.tail(name), twin.tail(floor_name(name)))
        for run, twin in plain.good
    }
    found = {}
    for run, _ in robust.good:
        if run.cell.seed in lost:
            spoiled, clean, floor = lost[run.cell.seed]
            loss = clean - spoiled
            gain = run.tail(name) - spoiled
            lost_enough = (-loss if kind.lower else loss) >= kind.grain(clean, floor)
            found[run.cell.seed] = gain / loss if lost_enough else math.nan
    return found


def median_recovery(robust: Sequence[Group], plain: Sequence[Group]) -> Interval:
    """Return the median over places on the other axes, over seeds."""
    by_place = {_place(group): group for group in plain}
    each = [recovered(g, by_place[_place(g)]) for g in robust if _place(g) in by_place]
    seeds = sorted({seed for found in each for seed in found})
    return t_interval([_median([found.get(seed, math.nan) for found in each]) for seed in seeds])


def _place(group: Group) -> tuple[str, str]:
    return group.scenario, row_label(group.attack, group.labels)


def _median(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return statistics.median(known) if known else math.nan
