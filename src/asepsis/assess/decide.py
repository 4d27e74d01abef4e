"""From fresh seeds on test patients to what may be said of every threat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy import stats

from asepsis.assess.arsenal import Weapon
from asepsis.assess.bench import Sheet
from asepsis.assess.outcome import Answer, Finding, Measured, Ruling
from asepsis.assess.spec import LimitsSpec
from asepsis.assess.stacks import Stack
from asepsis.experiments.threats import Goal, threat
from asepsis.metrics.intervals import (
    POINT,
    SAME,
    Interval,
    holm,
    paired_difference,
    t_interval,
)

ALPHA = 0.05
FEWEST = 5
"""Fresh seeds below which nothing is claimed, neither safety nor harm."""


def firm(found: Interval) -> Interval:
    """Widen an interval without width: equal seeds are taken to scatter by a point.

    Example:
        >>> round(firm(Interval(0.0, 0.0, 0.0, 5)).high, 4)
        0.0124
    """
    if not found.high - found.low <= SAME:
        return found
    half = float(stats.t.ppf(0.975, found.n - 1)) * POINT / math.sqrt(found.n)
    return replace(found, low=found.mean - half, high=found.mean + half)


def compared(
    sheet: Sheet, today: Stack, gated: Stack, weapon: Weapon, goal: Goal, limit: float
) -> Measured:
    """Set one attack's harm under today's stack beside that under the gated one, seed by seed."""
    before, after = sheet.harm(today, weapon, goal), sheet.harm(gated, weapon, goal)
    seeds = sorted({*before, *after})
    left = [before.get(seed, math.nan) for seed in seeds]
    right = [after.get(seed, math.nan) for seed in seeds]
    return Measured(
        attack=weapon.name,
        adaptive=weapon.adaptive,
        before=firm(t_interval(left)),
        after=firm(t_interval(right)),
        gained=paired_difference(left, right),
        above=paired_difference(right, [limit] * len(right)).p,
        failed=sum(not math.isfinite(a + b) for a, b in zip(left, right, strict=True)),
    )


def ruled(
    arms: Mapping[str, Sequence[Weapon]],
    sheet: Sheet,
    today: Stack,
    gated: Stack,
    limits: LimitsSpec,
) -> list[Finding]:
    """Return a finding for every threat that has weapons; p-values are corrected over all."""
    parts = []
    for key, weapons in arms.items():
        goal = threat(key).goal
        limit = limits.of(goal)
        parts += [(key, compared(sheet, today, gated, weapon, goal, limit)) for weapon in weapons]
    gained = holm([part.gained.p for _, part in parts])
    above = holm([part.above for _, part in parts])
    told = [
        (key, replace(part, p=float(p), above=float(q)))
        for (key, part), p, q in zip(parts, gained, above, strict=True)
    ]
    return [
        _finding(key, tuple(part for k, part in told if k == key), sheet, weapons, limits)
        for key, weapons in arms.items()
    ]


def _finding(
    key: str,
    parts: tuple[Measured, ...],
    sheet: Sheet,
    weapons: Sequence[Weapon],
    limits: LimitsSpec,
) -> Finding:
    limit = limits.of(threat(key).goal)
    failed = max((part.failed for part in parts), default=0)
    told = [f"{failed} {'seed' if failed == 1 else 'seeds'} without figures"] if failed else []
    told += [why for weapon in weapons if (why := sheet.why(weapon))][:1]
    return Finding(key, limit, ruling_of(parts, limit), parts, ": ".join(told))


def ruling_of(parts: Sequence[Measured], limit: float) -> Ruling:
    """Say what the intervals allow: the worst attack decides.

    Open where some attack is shown to leave more than the limit (Holm over all attacks of the
    assessment); unclear where an interval straddles it, a seed failed or there are fewer than
    :data:`FEWEST`. Else all are below: covered where some attack was shown to harm today's stack
    beyond the limit and every such attack is shown to harm less now; harmless where none was.
    """
    if not parts or all(math.isnan(part.after.mean) for part in parts):
        return Ruling.UNTRIED
    if any(exceeds(part, limit) for part in parts):
        return Ruling.OPEN
    if any(part.failed or part.after.n < FEWEST for part in parts):
        return Ruling.UNCLEAR
    if not all(part.after.high <= limit for part in parts):
        return Ruling.UNCLEAR
    harmed = [part for part in parts if part.before.low > limit]
    if not harmed:
        return Ruling.HARMLESS
    return Ruling.COVERED if all(better(part) for part in harmed) else Ruling.UNCLEAR


def exceeds(part: Measured, limit: float) -> bool:
    """Whether the gated stack was shown to take more harm than the limit."""
    return part.after.n >= FEWEST and part.after.mean > limit and part.above < ALPHA


def better(part: Measured) -> bool:
    """Whether the gated stack was shown to take less harm: the interval, and Holm's p."""
    return part.gained.n >= FEWEST and part.gained.low > 0 and part.p < ALPHA


def answer_of(findings: Sequence[Finding], utility: Interval, limits: LimitsSpec) -> Answer:
    """Tell a pipeline: fail where harm above a limit was shown, pass where all are below.

    Where no threat could be ruled on there is nothing to pass.
    """
    limit = limits.utility / 100
    rulings = {finding.ruling for finding in findings} - {Ruling.NOT_APPLICABLE}
    enough = utility.n >= FEWEST
    if Ruling.OPEN in rulings or (enough and utility.low > limit):
        return Answer.FAIL
    unsure = rulings & {Ruling.UNCLEAR, Ruling.UNTRIED}
    if not rulings or unsure or not (enough and utility.high <= limit):
        return Answer.INCONCLUSIVE
    return Answer.PASS
