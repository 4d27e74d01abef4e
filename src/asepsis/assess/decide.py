"""From fresh seeds on test patients to what may be said of every threat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from asepsis.assess.arsenal import Weapon
from asepsis.assess.bench import Sheet
from asepsis.assess.outcome import Answer, Finding, Measured, Ruling
from asepsis.assess.spec import LimitsSpec
from asepsis.assess.stacks import Stack
from asepsis.experiments.threats import Goal, threat
from asepsis.metrics.intervals import Interval, holm, paired_difference, t_interval

ALPHA = 0.05


def compared(sheet: Sheet, today: Stack, gated: Stack, weapon: Weapon, goal: Goal) -> Measured:
    """Set one attack's harm under today's stack beside that under the gated one, seed by seed."""
    before, after = sheet.harm(today, weapon, goal), sheet.harm(gated, weapon, goal)
    seeds = sorted({*before, *after})
    left = [before.get(seed, math.nan) for seed in seeds]
    right = [after.get(seed, math.nan) for seed in seeds]
    return Measured(
        attack=weapon.name,
        adaptive=weapon.adaptive,
        before=t_interval(left),
        after=t_interval(right),
        gained=paired_difference(left, right),
    )


def ruled(
    arms: Mapping[str, Sequence[Weapon]],
    sheet: Sheet,
    today: Stack,
    gated: Stack,
    limits: LimitsSpec,
) -> list[Finding]:
    """Return a finding for every threat that has weapons; p-values are corrected over all."""
    parts = {
        key: [compared(sheet, today, gated, weapon, threat(key).goal) for weapon in weapons]
        for key, weapons in arms.items()
    }
    flat = [part for measured in parts.values() for part in measured]
    adjusted = iter(holm([part.gained.p for part in flat]))
    corrected = {
        key: tuple(replace(part, p=float(next(adjusted))) for part in measured)
        for key, measured in parts.items()
    }
    return [_finding(key, measured, limits) for key, measured in corrected.items()]


def _finding(key: str, parts: tuple[Measured, ...], limits: LimitsSpec) -> Finding:
    limit = limits.of(threat(key).goal)
    return Finding(key, limit, ruling_of(parts, limit), parts)


def ruling_of(parts: Sequence[Measured], limit: float) -> Ruling:
    """Say what the intervals allow: the worst attack decides.

    Open where some attack's interval lies above the limit; unclear where one straddles it or
    could not be measured. Else all are below: covered where some attack was shown to harm today's
    stack beyond the limit and every such attack is shown to harm less now; harmless where none
    was.
    """
    if not parts or all(math.isnan(part.after.mean) for part in parts):
        return Ruling.UNTRIED
    if any(part.after.low > limit for part in parts):
        return Ruling.OPEN
    if not all(part.after.high <= limit for part in parts):
        return Ruling.UNCLEAR
    harmed = [part for part in parts if part.before.low > limit]
    if not harmed:
        return Ruling.HARMLESS
    return Ruling.COVERED if all(better(part) for part in harmed) else Ruling.UNCLEAR


def better(part: Measured) -> bool:
    """Whether the gated stack was shown to take less harm: the interval, and Holm's p."""
    return part.gained.low > 0 and part.p < ALPHA


def answer_of(findings: Sequence[Finding], utility: Interval, limits: LimitsSpec) -> Answer:
    """Tell a pipeline: fail where an interval is above its limit, pass where all are below."""
    limit = limits.utility / 100
    rulings = {finding.ruling for finding in findings}
    if Ruling.OPEN in rulings or utility.low > limit:
        return Answer.FAIL
    if rulings & {Ruling.UNCLEAR, Ruling.UNTRIED} or not utility.high <= limit:
        return Answer.INCONCLUSIVE
    return Answer.PASS
