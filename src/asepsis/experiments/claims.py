"""What a paper says, and what was measured here: claims beside figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from asepsis.experiments.durability import Durability, durabilities, grain
from asepsis.experiments.figures import AFTERMATH, CHANGE, EXCESS, INSPECT, OBSERVE, RECOVERY
from asepsis.experiments.inspections import by_name
from asepsis.experiments.leaks import figure_of
from asepsis.experiments.naming import names_cell
from asepsis.experiments.recovery import median_recovery
from asepsis.experiments.results import Group, Results, Run, beside_twin, excess_of
from asepsis.experiments.spec import Claim
from asepsis.metrics.durability import MATCHED
from asepsis.metrics.intervals import UNKNOWN, Interval, holm, paired_difference, t_interval
from asepsis.metrics.measures import floor_name

ALPHA = 0.05


class Outcome(StrEnum):
    """What an interval says of "this one has more than that one"."""

    MORE = "more"
    NOT_MORE = "not more"
    UNCLEAR = "unclear"


@dataclass(frozen=True, eq=False)
class Measured:
    """A claim and its figure here; a difference to another attack where it compares two.

    ``group`` is ``None`` when the settings left the claim's cell out. ``horizon`` is how many
    rounds after departure all runs were followed, where the figure is a time. ``matched`` says of
    a comparison whether both attacks left equally strong backdoors, ``p`` how likely chance alone
    would make such a difference, after Holm's correction within the study's claims.
    """

    claim: Claim
    group: Group | None = None
    value: Interval = UNKNOWN
    durability: Durability | None = None
    matched: bool | None = None
    p: float = math.nan

    @property
    def outcome(self) -> Outcome:
        """Whether the attack was shown to have more of it than the other one."""
        if not self.p < ALPHA:
            return Outcome.UNCLEAR
        return Outcome.MORE if self.value.mean > 0 else Outcome.NOT_MORE


def measured(results: Results) -> list[Measured]:
    """Set every claim of a study beside what its runs say."""
    groups = results.groups()
    found = [_measured(claim, groups) for claim in results.study.claims]
    adjusted = holm([item.value.p for item in found]).tolist()
    return [replace(item, p=p) for item, p in zip(found, adjusted, strict=True)]


def _measured(claim: Claim, groups: list[Group]) -> Measured:
    if claim.metric == RECOVERY:
        return _recovery(claim, groups)
    group = _named(claim, claim.attack, groups)
    other = _other(claim, groups)
    if group is None or (compares(claim) and other is None):
        return Measured(claim)
    lasting = durabilities([item for item in groups if item.scenario == group.scenario])
    mine = by_seed(group, claim.metric, lasting.get(group))
    if other is None:
        return Measured(claim, group, t_interval(list(mine.values())), lasting.get(group))
    theirs = by_seed(other, claim.metric, lasting.get(other))
    seeds = [seed for seed in mine if seed in theirs]
    pairs = [mine[s] for s in seeds], [theirs[s] for s in seeds]
    least = other.metric(floor_name(claim.metric)).mean
    grain_ = grain(claim.metric, t_interval(pairs[1]).mean, least)
    gap = paired_difference(*pairs, grain=grain_)
    alike = _matched(lasting.get(group), lasting.get(other))
    return Measured(claim, group, gap, lasting.get(group), alike)


def _recovery(claim: Claim, groups: list[Group]) -> Measured:
    """Return the median over the other axes of what the stack gives back."""
    robust = [group for group in groups if names_cell(claim, claim.attack, group)]
    meant = claim.model_copy(update={"defense": claim.instead_of})
    plain = [group for group in groups if names_cell(meant, claim.attack, group)]
    if not robust or not plain:
        return Measured(claim)
    return Measured(claim, robust[0], median_recovery(robust, plain))


def compares(claim: Claim) -> bool:
    """Whether a claim is about a difference: to another attack, or to another stack."""
    differs = claim.against is not None or claim.instead_of is not None
    return differs and claim.metric != RECOVERY


def _other(claim: Claim, groups: list[Group]) -> Group | None:
    if not compares(claim):
        return None
    meant = claim.model_copy(update={"defense": claim.instead_of or claim.defense})
    return _named(meant, claim.against or claim.attack, groups)


def _named(claim: Claim, attack: str, groups: list[Group]) -> Group | None:
    return next((group for group in groups if names_cell(claim, attack, group)), None)


def _matched(one: Durability | None, other: Durability | None) -> bool | None:
    if one is None or other is None:
        return None
    metric = "excess_at_departure"
    return abs(one.metric(metric).mean - other.metric(metric).mean) <= MATCHED


def by_seed(group: Group, metric: str, lasting: Durability | None) -> dict[int, float]:
    """Return a figure of every run that ended with one, by its seed."""
    if metric in AFTERMATH:
        return lasting.values(metric) if lasting else {}
    read = _reader(metric, group.primary)
    return {run.cell.seed: read(run, twin) for run, twin in group.good}


def _reader(metric: str, primary: str) -> Callable[[Run, Run], float]:
    if metric == CHANGE:
        return lambda run, twin: run.tail(primary) - twin.tail(primary)
    if metric == EXCESS:
        return lambda run, twin: excess_of(run, *beside_twin(run, twin, Run.tail))
    if metric.startswith(OBSERVE):
        return lambda run, _: figure_of(run, metric)
    if metric.startswith(INSPECT):
        return lambda run, twin: by_name(run, twin, metric)
    return lambda run, _: run.tail(metric)
