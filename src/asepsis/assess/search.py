"""Successive halving: all stacks get a little time, the best third more, the best few most."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from asepsis.assess.arsenal import Weapon
from asepsis.assess.bench import Sheet
from asepsis.assess.outcome import Candidate
from asepsis.assess.spec import LimitsSpec
from asepsis.assess.stacks import Stack, name_of
from asepsis.experiments.threats import threat

KEEP = 3
"""One stack of three goes on to the next rung."""
LAST = 3
"""So many are tried on the last rung."""
MOST = 10.0
"""What an excess counts at most, and what cannot be estimated counts: nothing was shown."""
LEAST_LIMIT = 0.01
"""A limit of zero points is taken to the point."""


@dataclass(frozen=True, slots=True)
class Rung:
    """How much a stack is tried: how many seeds, by all attacks, against all threats."""

    seeds: int
    every_attack: bool
    every_threat: bool


RUNGS = (Rung(2, False, False), Rung(3, True, False), Rung(5, True, True))
"""First by the worst attack of each threat that breaks today's stack, then by all of those, then
against every threat that is feared: a stack may give away what today's protects."""

Arms = Mapping[str, Sequence[Weapon]]
"""The weapons of threats, by key."""


def scored(
    sheet: Sheet, stack: Stack, today: Stack, arms: Arms, rung: int, seeds: int
) -> Candidate:
    """Read a stack's figures off a sheet: means over tuning seeds; the worst attack a threat."""
    runs = sheet.clean(stack)
    promised = [one for run in runs for one in run.footer.get("privacy") or []]
    spent = [one["epsilon"] for one in promised if one.get("epsilon") is not None]
    return Candidate(
        name=name_of(stack),
        stack=stack,
        rung=rung,
        seeds=seeds,
        utility=_mean(sheet.lost(stack, today).values()),
        harm={key: _worst(sheet, stack, today, key, arms[key]) for key in arms},
        seconds=sheet.seconds(stack),
        bytes_up=sheet.bytes_up(stack),
        epsilon=max(spent) if spent else None,
        refused="" if runs else "no run ended with figures",
    )


def _worst(sheet: Sheet, stack: Stack, today: Stack, key: str, weapons: Sequence[Weapon]) -> float:
    """Return the most harm any attack left; NaN where one that tells of today's stack does not.

    A stack that refuses an attack, or fails under it, must not be ranked by the others.
    """
    goal = threat(key).goal
    known = []
    for weapon in weapons:
        mine = _mean(sheet.harm(stack, weapon, goal).values())
        if math.isfinite(mine):
            known.append(mine)
        elif math.isfinite(_mean(sheet.harm(today, weapon, goal).values())):
            return math.nan
    return max(known, default=math.nan)


def excess(candidate: Candidate, limits: LimitsSpec) -> float:
    """Return by how much a stack exceeds what the consortium can live with, summed over threats.

    Every excess counts as a share of its limit, at most ten of them; what it costs while nobody
    attacks counts like a threat. Not estimable counts as ten: nothing was shown.
    """
    goals = {key: limits.of(threat(key).goal) for key in candidate.harm}
    parts = [_over(candidate.harm[key], limit) for key, limit in goals.items()]
    return math.fsum([*parts, _over(candidate.utility, limits.utility / 100)])


def _over(value: float, limit: float) -> float:
    if not math.isfinite(value):
        return MOST
    return min(max(value - limit, 0.0) / max(limit, LEAST_LIMIT), MOST)


def ranked(candidates: Sequence[Candidate], limits: LimitsSpec) -> list[Candidate]:
    """Order stacks: those that exceed the limits least, then those that send least, the simplest.

    Excesses that differ by less than a tenth of a limit are equal: a few seeds tell no more.
    """

    def order(one: Candidate) -> tuple[float, ...]:
        worst = max((v for v in one.harm.values() if math.isfinite(v)), default=0.0)
        margin = max(one.utility, worst)
        return round(excess(one, limits), 1), _last(one.bytes_up), len(one.stack), margin

    usable = [one for one in candidates if not one.refused]
    return sorted(usable, key=order)


def promoted(candidates: Sequence[Candidate], limits: LimitsSpec, rungs_left: int) -> list[Stack]:
    """Return the stacks that go on: a third, and on the last rung a few."""
    count = LAST if rungs_left <= 1 else max(-(-len(candidates) // KEEP), LAST)
    return [one.stack for one in ranked(candidates, limits)[:count]]


def with_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Mark the stacks of the last rung that no other one there beats in every respect.

    Respects are utility, the harm of every threat, the bytes that a hospital sends, and epsilon
    where privacy is promised. Figures of different rungs rest on different attacks and seeds.
    """
    last = max((one.rung for one in candidates if not one.refused), default=0)
    there = [one for one in candidates if one.rung == last and not one.refused]
    vectors = {one.name: _vector(one) for one in there}
    front = {
        name
        for name, mine in vectors.items()
        if not any(_beats(other, mine) for other in vectors.values())
    }
    return [replace(one, front=one.name in front) for one in candidates]


def _vector(one: Candidate) -> tuple[float, ...]:
    """Figures, less is better, to the point: smaller differences are noise of a few seeds."""
    shares = (max(value, 0.0) for value in (one.utility, *one.harm.values()))
    known = [round(value, 2) if math.isfinite(value) else math.inf for value in shares]
    return (*known, _last(one.bytes_up), math.inf if one.epsilon is None else one.epsilon)


def _beats(other: tuple[float, ...], mine: tuple[float, ...]) -> bool:
    pairs = list(zip(other, mine, strict=True))
    return all(theirs <= own for theirs, own in pairs) and any(t < own for t, own in pairs)


def _last(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _mean(values: Iterable[float]) -> float:
    """Return the mean; NaN where a seed has none, or nobody has."""
    known = list(values)
    return math.fsum(known) / len(known) if known else math.nan
