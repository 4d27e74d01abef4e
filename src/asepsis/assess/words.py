"""An outcome in words: the same sentences on the page, in a terminal and in a pipeline."""

from __future__ import annotations

import math
import re

from asepsis.assess.decide import ALPHA, FEWEST, exceeds
from asepsis.assess.outcome import Answer, Finding, Measured, Outcome, Ruling
from asepsis.experiments.threats import Goal
from asepsis.metrics.intervals import Interval
from asepsis.report.wording import PATH, counted, listed, number

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What XML may not hold, and what a terminal may act upon."""
TURNING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that make text read in another order than it is written."""
ADAPTIVE_UNTRIED = "not tried"


def clean(text: str) -> str:
    """Make text from data and messages fit for a document read elsewhere.

    Example:
        >>> clean("a\\x1b[31mb: /home/eva/x.csv")
        'a�[31mb: [path]'
        >>> clean("ledger (contract=/home/eva/key.pem) + mean")
        'ledger (contract=[path]) + mean'
    """
    return PATH.sub(_hidden, TURNING.sub("", UNPRINTABLE.sub("\ufffd", text)))


def _hidden(place: re.Match[str]) -> str:
    """Hide a place; keep the brackets that close what was opened before it."""
    found = place.group()
    return "[path]" + ")" * max(found.count(")") - found.count("("), 0)


def points(interval: Interval) -> str:
    """Write a share in points with its interval.

    Example:
        >>> points(Interval(0.123, 0.04, 0.2, 7)), points(Interval(math.nan, math.nan, math.nan, 0))
        ('12.3 (4.0 to 20.0)', 'not measured')
    """
    if not interval.n or math.isnan(interval.mean):
        return "not measured"
    mean = number(100 * interval.mean, 1)
    if math.isnan(interval.low):
        return f"{mean} (one seed)"
    return f"{mean} ({number(100 * interval.low, 1)} to {number(100 * interval.high, 1)})"


def leaves(interval: Interval) -> str:
    """Say what an attack leaves; what is at or below zero is no harm.

    Example:
        >>> leaves(Interval(0.123, 0.04, 0.2, 7)), leaves(Interval(-0.02, -0.03, -0.01, 7))
        ('leaves 12.3 (4.0 to 20.0) points', 'does no harm (−2.0 (−3.0 to −1.0) points)')
    """
    return _harm("leaves", interval)


def _harm(does: str, interval: Interval) -> str:
    if not interval.n or math.isnan(interval.mean):
        return f"{does} what is not measured"
    if interval.mean > 0:
        return f"{does} {points(interval)} points"
    sure = "" if interval.high <= 0 else " on average"
    return f"does no harm{sure} ({points(interval)} points)"


def harm_words(goal: Goal, interval: Interval) -> str:
    """Say a harm to somebody who knows none of the field's words.

    Example:
        >>> harm_words(Goal.AVAILABILITY, Interval(0.123, 0.04, 0.2, 7))
        'the model loses 12.3 (4.0 to 20.0) points'
    """
    said = points(interval)
    return {
        Goal.AVAILABILITY: f"the model loses {said} points",
        Goal.INTEGRITY: f"of 100 marked cases {said} are read as the attacker wants",
        Goal.CONFIDENTIALITY: f"an observer learns {said} points more than who never looks",
    }[goal]


def limit_text(share: float) -> str:
    """Write a limit in points.

    Example:
        >>> limit_text(0.05), limit_text(0.025)
        ('5', '2.5')
    """
    return f"{100 * share:g}"


def decisive(finding: Finding) -> Measured | None:
    """Return the attack that the ruling rests on.

    The highest certain harm if open; if unclear, what failed or has few seeds, then what may be
    above the limit; else the worst.
    """
    parts, limit = finding.parts, finding.limit
    if finding.ruling is Ruling.OPEN:
        sure = [part for part in parts if exceeds(part, limit)]
        sure = sure or [part for part in parts if part.after.low > limit]
        return max(sure, key=lambda part: part.after.low, default=finding.worst)
    if finding.ruling is not Ruling.UNCLEAR:
        return finding.worst
    short = [part for part in parts if part.failed or part.after.n < FEWEST]
    wide = short or [part for part in parts if not part.after.high <= limit]
    known = [part for part in wide if not math.isnan(part.after.mean)]
    if short and not known:
        return max(short, key=lambda part: part.failed)
    return max(known, key=lambda part: part.after.mean, default=finding.worst)


def sentence(finding: Finding) -> str:
    """Say what was found about one threat, with the figures it rests on."""
    part, limit = decisive(finding), limit_text(finding.limit)
    if part is None:
        return clean(finding.reason) or "nothing could be measured"
    left = f"{clean(part.attack)} {leaves(part.after)}; the limit is {limit}"
    today = _today(finding)
    return {
        Ruling.COVERED: f"harm is shown to go below the limit: {left}; {today}{_aside(finding)}",
        Ruling.HARMLESS: f"within the limit: {left}; {today}{_aside(finding)}",
        Ruling.OPEN: f"above the limit: {left}; {today}{_aside(finding)}",
        Ruling.UNCLEAR: f"{_why_unclear(finding, part)}: {left}; {today}",
    }.get(finding.ruling, clean(finding.reason) or "nothing could be measured")


def worst_today(finding: Finding) -> Measured | None:
    """Return the attack that does most harm to what runs today."""
    known = [part for part in finding.parts if not math.isnan(part.before.mean)]
    return max(known, key=lambda part: part.before.mean, default=None)


def _today(finding: Finding) -> str:
    part = worst_today(finding)
    return f"today {clean(part.attack)} {_harm('does', part.before)}" if part else "today unknown"


def _aside(finding: Finding) -> str:
    return f"; {clean(finding.reason)}" if finding.reason else ""


def _why_unclear(finding: Finding, part: Measured) -> str:
    if finding.reason:
        return clean(finding.reason)
    if part.failed:
        return f"{counted(part.failed, 'seed')} failed"
    if part.after.n < FEWEST:
        return f"{few(part.after.n)}, a claim needs {FEWEST}"
    if part.after.low > finding.limit and not part.above < ALPHA:
        return "above the limit, but not beyond doubt after correction"
    if part.after.high <= finding.limit:
        return "below the limit, but not shown to be less than today"
    return "the interval straddles the limit"


def few(seeds: int) -> str:
    """Say that so many seeds are too few.

    Example:
        >>> few(1), few(3)
        ('1 seed decides nothing', '3 seeds decide nothing')
    """
    return f"{counted(seeds, 'seed')} {'decides' if seeds == 1 else 'decide'} nothing"


def broken_today(outcome: Outcome) -> list[tuple[Finding, Measured]]:
    """Return the threats shown to harm today's stack beyond their limit, with the worst attack."""
    found = []
    for finding in outcome.findings:
        sure = [part for part in finding.parts if part.before.low > finding.limit]
        if sure:
            found.append((finding, max(sure, key=lambda part: part.before.mean)))
    return sorted(found, key=lambda item: -item[1].before.mean)


def utility_ruling(outcome: Outcome) -> Ruling:
    """Rule on what the gated stack costs while nobody attacks, like on a threat."""
    limit, cost = outcome.limits.utility / 100, outcome.utility
    if outcome.changes and cost.n < FEWEST:
        return Ruling.UNCLEAR
    if cost.low > limit:
        return Ruling.OPEN
    return Ruling.HARMLESS if cost.high <= limit else Ruling.UNCLEAR


def utility_sentence(outcome: Outcome) -> str:
    """Say what the gated stack costs while nobody attacks."""
    limit = f"{outcome.limits.utility:g}"
    if not outcome.changes:
        return f"nothing: it is what runs today (the limit is {limit} points)"
    cost = outcome.utility
    if not cost.n or math.isnan(cost.mean):
        return f"not measured, as a run gave no figures (the limit is {limit} points)"
    said = f"{points(cost)} points of {metric(outcome)}"
    return f"{said if cost.mean > 0 else f'nothing on average ({said})'}; the limit is {limit}"


def advised(outcome: Outcome) -> str:
    """Name the stack to run: the judged one, unless fresh runs give no reason to leave today's."""
    return outcome.recommended if borne_out(outcome) else outcome.today


def borne_out(outcome: Outcome) -> bool:
    """Whether fresh runs show that another stack than today's helps, at a price that is agreed."""
    helps = outcome.changes and bool(outcome.ruled(Ruling.COVERED))
    return helps and utility_ruling(outcome) is not Ruling.OPEN


def metric(outcome: Outcome) -> str:
    """Name the primary figure."""
    return outcome.primary.replace("_", " ") or "the primary figure"


def answer_text(outcome: Outcome) -> str:
    """Give the answer with what it rests on."""
    if outcome.undertrained:
        return (
            "Inconclusive. The model has not learned what it is for even without an attack, so "
            "nothing is claimed."
        )
    tried = [f for f in outcome.findings if f.ruling is not Ruling.NOT_APPLICABLE]
    titles = {
        ruling: [f.threat.title.lower() for f in outcome.ruled(ruling)]
        for ruling in (Ruling.OPEN, Ruling.UNCLEAR, Ruling.UNTRIED)
    }
    stack = clean(outcome.recommended)
    if outcome.answer is Answer.PASS:
        return (
            f"Pass. With {stack}, all {len(tried)} threats that were tried stay within your "
            "limits, with their whole 95% intervals."
        )
    if outcome.answer is Answer.FAIL:
        why = [f"{listed(titles[Ruling.OPEN])} above the limit"] if titles[Ruling.OPEN] else []
        if utility_ruling(outcome) is Ruling.OPEN:
            why.append("its price without an attack above the limit")
        return f"Fail. With {stack}, {listed(why)}." if why else f"Fail with {stack}."
    why = [f"{listed(titles[Ruling.UNCLEAR])} undecided"] if titles[Ruling.UNCLEAR] else []
    why += [f"{listed(titles[Ruling.UNTRIED])} not measured"] if titles[Ruling.UNTRIED] else []
    if utility_ruling(outcome) is Ruling.UNCLEAR:
        why.append("its price without an attack undecided")
    return f"Inconclusive. With {stack}, {listed(why or ['the evidence decides nothing'])}."


def remains(outcome: Outcome) -> str:
    """Say what stays open, by threat."""
    parts = [
        (outcome.ruled(Ruling.OPEN), "above the limit"),
        (outcome.ruled(Ruling.UNCLEAR), "undecided"),
        (outcome.ruled(Ruling.UNTRIED), "not measured"),
    ]
    said = [
        f"{listed([f.threat.title.lower() for f in found])} ({what})"
        for found, what in parts
        if found
    ]
    return "; ".join(said) if said else ""
