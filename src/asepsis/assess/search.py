"""Successive halving: all stacks get a little time, the best third more, the best few most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Rung:
    """How much a stack is tried: how many seeds, and whether by who knows the defense."""

    seeds: int
    adaptive: bool


RUNGS = (Rung(1, adaptive=False), Rung(2, adaptive=True), Rung(4, adaptive=True))

Arms = Mapping[str, Sequence[Weapon]]
"""The weapons of every threat that is searched against, by its key."""


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
        harm={key: _worst(sheet, stack, key, weapons) for key, weapons in arms.items()},
        seconds=sheet.seconds(stack),
        bytes_up=sheet.bytes_up(stack),
        epsilon=max(spent) if spent else None,
        refused="" if runs else "no run ended with figures",
    )


def _worst(sheet: Sheet, stack: Stack, key: str, weapons: Sequence[Weapon]) -> float:
    goal = threat(key).goal
    means = [_mean(sheet.harm(stack, weapon, goal).values()) for weapon in weapons]
    known = [mean for mean in means if math.isfinite(mean)]
    return max(known, default=math.nan)


def excess(candidate: Candidate, limits: LimitsSpec) -> float:
    """Return by how much a stack exceeds what the consortium can live with, summed over threats.

    Every excess counts as a share of its limit, at most ten of them; what it costs while nobody
    attacks counts like a threat. Not estimable counts as ten: nothing was shown.
    """
    goals = {key: limits.of(threat(key).goal) for key in candidate.harm}
    parts = [_over(candidate.harm[key], limit) for key, limit in goals.items()]
    return math.fsum([*parts, _over(candidate.utility, limits.utility / 100)])


MOST = 10.0
LEAST_LIMIT = 0.01
"""A limit of zero points is taken to the point."""


def _over(value: float, limit: float) -> float:
    if not math.isfinite(value):
        return MOST
    return min(max(value - limit, 0.0) / max(limit, LEAST_LIMIT), MOST)


def ranked(candidates: Sequence[Candidate], limits: LimitsSpec) -> list[Candidate]:
    """Order stacks: those that exceed the limits least, then those that cost least."""

    def order(one: Candidate) -> tuple[float, ...]:
        worst = max((v for v in one.harm.values() if math.isfinite(v)), default=0.0)
        margin = max(one.utility, worst)
        return (round(excess(one, limits), 3), _last(one.bytes_up), round(margin, 3))

    usable = [one for one in candidates if not one.refused]
    return sorted(usable, key=order)


def promoted(candidates: Sequence[Candidate], limits: LimitsSpec, rungs_left: int) -> list[Stack]:
    """Return the stacks that go on: a third, and on the last rung a few."""
    count = LAST if rungs_left <= 1 else max(-(-len(candidates) // KEEP), LAST)
    return [one.stack for one in ranked(candidates, limits)[:count]]


def with_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Mark the stacks that no other one beats: in utility, every threat, time and bytes at once."""
    vectors = [_vector(one) for one in candidates]
    return [
        replace(one, front=not one.refused and not any(_beats(other, mine) for other in vectors))
        for one, mine in zip(candidates, vectors, strict=True)
    ]


def _vector(one: Candidate) -> tuple[float, ...]:
    """Figures, less is better, to the point: smaller differences are noise of one or two seeds."""
    harm = [max(value, 0.0) for value in one.harm.values()]
    shares = [round(_last(value), 2) for value in (max(one.utility, 0.0), *harm)]
    if one.refused:
        return (math.inf,) * (len(shares) + 1)
    return (*shares, _last(one.bytes_up))


def _beats(other: tuple[float, ...], mine: tuple[float, ...]) -> bool:
    pairs = list(zip(other, mine, strict=True))
    return all(theirs <= own for theirs, own in pairs) and any(t < own for t, own in pairs)


def _last(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _mean(values: object) -> float:
    known = [v for v in values if math.isfinite(v)]  # type: ignore[attr-defined]
    return math.fsum(known) / len(known) if known else math.nan
