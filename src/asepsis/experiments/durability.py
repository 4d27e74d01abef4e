"""What is left of a backdoor after its attacker left: runs beside their twins, over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial

from asepsis.experiments.figures import TIMES
from asepsis.experiments.results import Group, Run, beside_twin, excess_of, floor_of
from asepsis.experiments.spec import Experiment
from asepsis.metrics.durability import (
    Lifespan,
    area,
    common_horizon,
    departed,
    half_life,
    lifespan,
)
from asepsis.metrics.intervals import Interval, paired_difference, t_interval
from asepsis.metrics.measures import measure

PAIRED = "backdoor/paired_auroc"


def grain(metric: str, beside: float = math.nan, floor: float = math.nan) -> float:
    """Return by how much a figure is told from another: a round, or a point of a share.

    Of a figure without natural bounds it is a share of what it is held ``beside``,
    or of its ``floor``.
    """
    return 1.0 if metric in TIMES else measure(metric).grain(beside, floor)


@dataclass(frozen=True, eq=False)
class Aftermath:
    """One run from its attacker's last round on, which is entry 0 of its curves."""

    seed: int
    round: int
    asr: list[float]
    floor: list[float]
    excess: list[float]

    @property
    def followed(self) -> int:
        """The last round after departure in which the model was scored."""
        return max((k for k, value in enumerate(self.asr) if math.isfinite(value)), default=0)

    @cached_property
    def lifespan(self) -> Lifespan | None:
        """Rounds until the excess lay below half."""
        return lifespan(self.excess, followed=self.followed)

    @cached_property
    def half_life(self) -> Lifespan | None:
        """Rounds until the excess lay below half of what it was at departure."""
        return half_life(self.excess, self.followed)

    def value(self, metric: str, horizon: int) -> float:
        """Return a figure after departure; times and areas reach to a horizon all runs have."""
        if metric == "area":
            return area(self.excess, horizon)
        if metric.endswith("_at_departure"):
            curves = {"asr": self.asr, "floor": self.floor, "excess": self.excess}
            return curves[metric.removesuffix("_at_departure")][0]
        life = self.lifespan if metric == "lifespan" else self.half_life
        return life.within(horizon) if life else math.nan


@dataclass(frozen=True, eq=False)
class Durability:
    """One attack under one defense after the attacker left, over seeds."""

    runs: list[Aftermath]
    horizon: int

    def values(self, metric: str) -> dict[int, float]:
        """Return a figure after departure for every seed."""
        return {run.seed: run.value(metric, self.horizon) for run in self.runs}

    def metric(self, metric: str) -> Interval:
        """Mean over seeds; of lifespans the restricted mean within the horizon."""
        return t_interval(list(self.values(metric).values()))

    def lives(self, metric: str = "lifespan") -> list[Lifespan]:
        """Return the lifespans, or half-lives, of the runs that have one."""
        lives = [run.half_life if metric == "half_life" else run.lifespan for run in self.runs]
        return [life for life in lives if life is not None]

    @property
    def lost(self) -> list[int]:
        """Seeds whose lifespan nobody can tell: a clean model left nothing to measure."""
        return [seed for seed, lived in self.values("lifespan").items() if math.isnan(lived)]

    def minus(self, other: Durability, metric: str) -> Interval:
        """Paired difference to another attack, seed by seed: positive when this one is higher.

        Times are cut at the horizon of both.
        """
        horizon = min(self.horizon, other.horizon)
        mine = Durability(self.runs, horizon).values(metric)
        theirs = Durability(other.runs, horizon).values(metric)
        seeds = [seed for seed in mine if seed in theirs]
        return paired_difference(
            [mine[s] for s in seeds], [theirs[s] for s in seeds], grain=grain(metric)
        )


def leaves(spec: Experiment) -> bool:
    """Whether the attack is over before the run is."""
    threat = spec.threat
    if spec.attack is None or threat.rounds is None:
        return False
    return threat.starts_at + (threat.rounds - 1) * threat.every < spec.federation.rounds - 1


def excess_curve(run: Run, twin: Run) -> list[float]:
    """Return the excess attack success by round; NaN where it was not measured."""
    pairs = zip(*beside_twin(run, twin, Run.curve), strict=False)
    return [excess_of(run, asr, floor) for asr, floor in pairs]


def departure(run: Run) -> int | None:
    """Return the attacker's last round; ``None`` when nobody attacked, or nobody left."""
    last = departed([item.get("hostile", []) for item in run.rounds])
    return last if leaves(run.cell.spec) and last != len(run.rounds) - 1 else None


def aftermath(run: Run, twin: Run) -> Aftermath | None:
    """Return a backdoor run after departure; ``None`` when nobody attacked, or nobody left."""
    last = departure(run)
    if last is None:
        return None
    floor, excess = floor_of(run, twin, Run.curve), excess_curve(run, twin)
    return Aftermath(run.cell.seed, last, run.curve("asr")[last:], floor[last:], excess[last:])


def paired_rise(group: Group) -> Interval:
    """Return how much better a trigger is told from its absence than in a clean model.

    The paired AUROC of p(target) beyond the twin's, at departure where the attacker left, else of
    the last rounds; a task of one class per sample, or a trigger by nature, has none.
    """
    reads = [(run, twin, partial(_deciding, departure(run))) for run, twin in group.good]
    reached = [read(run, PAIRED) for run, _, read in reads]
    clean = [floor_of(run, twin, read, PAIRED) for run, twin, read in reads]
    return paired_difference(reached, clean)


def _deciding(last: int | None, run: Run, metric: str) -> float:
    return run.tail(metric) if last is None else run.curve(metric)[last]


def durabilities(groups: Iterable[Group]) -> dict[Group, Durability]:
    """Follow every backdoor of a scenario after departure, to the horizon that all runs have."""
    found = {group: _aftermaths(group) for group in groups if group.backdoor}
    lives = [run.lifespan for runs in found.values() for run in runs if run.lifespan]
    horizon = common_horizon(lives)
    return {group: Durability(runs, horizon) for group, runs in found.items() if runs}


def _aftermaths(group: Group) -> list[Aftermath]:
    made = [aftermath(run, twin) for run, twin in group.good]
    return [item for item in made if item is not None]
