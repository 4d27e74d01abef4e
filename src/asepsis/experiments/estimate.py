"""How long a study will take: one round of every experiment is timed, the rest is arithmetic."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from asepsis.core.engine import Engine
from asepsis.engines import make_engine
from asepsis.experiments.plan import Cell, Plan
from asepsis.experiments.resolve import resolve
from asepsis.experiments.run import RunOptions
from asepsis.experiments.saving import expected
from asepsis.experiments.sweep import grouped
from asepsis.federation.build import Scorer, assemble
from asepsis.federation.federation import Federation, RoundState
from asepsis.federation.generating.oracle import GenerativeOracle
from asepsis.federation.round import play_round

QUICK = 1.0
"""What takes less than this many seconds is timed twice: the first time also warms up."""
MINUTE, HOUR, DAY = 60, 3600, 86400

Kind = tuple[object, ...]
"""What experiments have in common that take equally long."""


@dataclass(frozen=True)
class Estimate:
    """Expected wall-clock time of a plan; ``untimed`` counts runs whose first round failed."""

    seconds: float
    runs: int
    rounds: int
    jobs: int
    untimed: int = 0
    reused: int = 0
    """Of the rounds those before an attack that another run will have played."""

    def __str__(self) -> str:
        """Say it in a sentence."""
        jobs = f"{self.jobs} job{'s' * (self.jobs != 1)}"
        text = f"about {duration(self.seconds)} on this machine with {jobs}"
        reused = f", {self.reused:,} of them reused" if self.reused else ""
        text += f" ({self.runs:,} runs, {self.rounds:,} rounds{reused})"
        return text + (f"; {self.untimed} runs could not be timed" if self.untimed else "")


@dataclass(frozen=True)
class Pace:
    """Seconds of one experiment's parts, and how many of its rounds are attacked.

    ``judges`` is what only the first run of a seed spends: whoever judges images is trained once;
    ``watching`` what all rounds take longer in which somebody looks.
    """

    setup: float
    honest: float
    attacked: float
    scoring: float
    hostile: int
    judges: float = 0.0
    watching: float = 0.0

    def seconds(self, cell: Cell, shared: int = 0) -> float:
        """Return the time of a run whose first ``shared`` rounds another run has played."""
        spec = cell.spec
        rounds = spec.federation.rounds
        clean = max(rounds - self.hostile - shared, 0)
        scored = (rounds - shared) / spec.evaluation.every
        played = clean * self.honest + self.hostile * self.attacked
        return self.setup + played + scored * self.scoring + self.watching


def estimate(plan: Plan, how: RunOptions) -> Estimate:
    """Time one round of every experiment of a plan, for its first seed, and add up.

    Defenses are taken to cost what the first one costs: of a round's time they are little.

    Raises:
        AsepsisError: an experiment cannot be built.
    """
    groups = grouped(plan.cells)
    jobs = min(how.jobs or 1, len(groups))
    paces = _paces(plan.cells, replace(how, engine="serial") if jobs > 1 else how)
    times = [_seconds(group, paces) for group in groups]
    for number, seconds in _judging(groups, paces, jobs):
        times[number] += seconds
    return Estimate(
        seconds=max(sum(times) / jobs, *times, 0.0),
        runs=len(plan.cells),
        rounds=sum(cell.spec.federation.rounds for cell in plan.cells),
        jobs=how.jobs or 1,
        untimed=sum(paces[_kind(cell)] is None for cell in plan.cells),
        reused=expected(plan.cells).reused,
    )


def _seconds(group: list[Cell], paces: dict[Kind, Pace | None]) -> float:
    """Add up runs that share the rounds before their attack: only the first one plays them."""
    total, left = 0.0, set[str]()
    for cell in group:
        pace, prefix = paces[_kind(cell)], cell.spec.prefix()
        if pace is not None:
            total += pace.seconds(cell, cell.spec.threat.starts_at if prefix in left else 0)
        left.add(prefix)
    return total


def _judging(
    groups: list[list[Cell]], paces: dict[Kind, Pace | None], jobs: int
) -> Iterator[tuple[int, float]]:
    """Yield in which groups judges are trained: in the first of each seed, in every process."""
    met: Counter[tuple[Kind, int]] = Counter()
    for number, group in enumerate(groups):
        for kind, seed in dict.fromkeys((_kind(cell), cell.seed) for cell in group):
            met[kind, seed] += 1
            pace = paces[kind]
            if pace is not None and met[kind, seed] <= jobs:
                yield number, pace.judges


def _kind(cell: Cell) -> Kind:
    return cell.scenario, cell.attack, cell.labels


def _paces(cells: Iterable[Cell], how: RunOptions) -> dict[Kind, Pace | None]:
    first: dict[Kind, Cell] = {}
    for cell in cells:
        first.setdefault(_kind(cell), cell)
    return {kind: _pace(cell, how) for kind, cell in first.items()}


def _pace(cell: Cell, how: RunOptions) -> Pace | None:
    began = time.perf_counter()
    federation, oracle = assemble(replace(resolve(cell.spec)[0], device=how.device))
    engine = make_engine(how.engine, how.jobs)
    try:
        engine.start(federation.plan)
        setup = time.perf_counter() - began
        return _timed(federation, oracle, engine, setup, how.device)
    except Exception:  # noqa: BLE001 (a component's own fault becomes a row of the results)
        return None
    finally:
        engine.close()


def _timed(
    federation: Federation, oracle: Scorer, engine: Engine, setup: float, device: str
) -> Pace:
    rounds = range(federation.schedule.rounds)
    hostile = [t for t in rounds if federation.attacked(t)]
    calm = next((t for t in reversed(rounds) if t not in set(hostile)), None)
    alone = replace(federation, observers={})
    attacked, state = _round(alone, engine, hostile[0] if hostile else None, device)
    honest, calm_state = _round(alone, engine, calm, device)
    watching = _watching(federation, engine, honest, device)
    last = state or calm_state
    scoring = judges = 0.0
    if last is not None:
        judges, once = _once(oracle, federation, last, rounds[-1])
        scoring = _scoring(oracle, last, rounds[-1])
        setup += max(once - scoring, 0.0)  # what scoring needs, and every run makes once
    return Pace(setup, honest, attacked, scoring, len(hostile), judges, watching)


def _watching(federation: Federation, engine: Engine, alone: float, device: str) -> float:
    """Return by how much rounds are longer in which somebody looks; equal ones are timed once."""
    looks: Counter[tuple[str, ...]] = Counter()
    first: dict[tuple[str, ...], int] = {}
    for number in range(federation.schedule.rounds):
        who = tuple(name for name, one in federation.observers.items() if one.when.active(number))
        looks[who] += bool(who)
        first.setdefault(who, number)
    times = {who: _round(federation, engine, first[who], device)[0] for who in looks if who}
    return sum(max(seconds - alone, 0.0) * looks[who] for who, seconds in times.items())


def _once(
    oracle: Scorer, federation: Federation, state: RoundState, round_: int
) -> tuple[float, float]:
    """Return the seconds that a seed's first run, and that every run spends on scoring once.

    What the second of two equal oracles need not do, runs of a seed remember from each other;
    an earlier experiment of the plan may have paid for it.
    """
    if not isinstance(oracle, GenerativeOracle):
        return 0.0, _scoring(oracle, state, round_)
    equal = copy.deepcopy(oracle, {id(federation): federation})
    first, again = (_scoring(one, state, round_) + _closing(one, state) for one in (oracle, equal))
    return max(first - again, 0.0), again


def _scoring(oracle: Scorer, state: RoundState, round_: int) -> float:
    began = time.perf_counter()
    oracle.score(state.row, round_, state.attack)
    return time.perf_counter() - began


def _closing(oracle: GenerativeOracle, state: RoundState) -> float:
    began = time.perf_counter()
    oracle.closing(state.row)
    return time.perf_counter() - began


def _round(
    federation: Federation, engine: Engine, number: int | None, device: str
) -> tuple[float, RoundState | None]:
    """Return the seconds of one round from the initial model, and what it leaves behind."""
    if number is None:
        return 0.0, None
    begin = replace(federation.begin().to(device), round=number)
    for _ in range(2):
        began = time.perf_counter()
        after, _outcome = play_round(federation, engine, begin)
        seconds = time.perf_counter() - began
        if seconds > QUICK:
            break
    return seconds, after


def duration(seconds: float) -> str:
    """Write a time as precisely as an estimate deserves.

    Example:
        >>> duration(42), duration(700), duration(12000), duration(200000)
        ('42 s', '12 min', '3 h 20 min', '2 d 8 h')
    """
    if seconds < 1.5 * MINUTE:
        return f"{max(round(seconds), 1)} s"
    if seconds < 1.5 * HOUR:
        return f"{round(seconds / MINUTE)} min"
    if seconds < 2 * DAY:
        hours, minutes = divmod(round(seconds / (5 * MINUTE)) * 5, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / HOUR), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
