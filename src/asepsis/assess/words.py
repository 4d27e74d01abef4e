"""An outcome in words: the same sentences on the page, in a terminal and in a pipeline."""

from __future__ import annotations

import math
import re

from asepsis.assess.outcome import Answer, Finding, Measured, Outcome, Ruling
from asepsis.experiments.threats import Goal
from asepsis.metrics.intervals import Interval
from asepsis.report.wording import listed, number, without_paths

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
    """
    return without_paths(TURNING.sub("", UNPRINTABLE.sub("\ufffd", text)))


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
    """Return the attack that the ruling rests on: the highest certain harm if open, else worst."""
    sure = [part for part in finding.parts if part.after.low > finding.limit]
    if finding.ruling is Ruling.OPEN and sure:
        return max(sure, key=lambda part: part.after.low)
    wide = [part for part in finding.parts if not part.after.high <= finding.limit]
    known = [part for part in wide if not math.isnan(part.after.mean)]
    if finding.ruling is Ruling.UNCLEAR and known:
        return max(known, key=lambda part: part.after.mean)
    return finding.worst


def sentence(finding: Finding) -> str:
    """Say what was found about one threat, with the figures it rests on."""
    part, limit = decisive(finding), limit_text(finding.limit)
    if part is None:
        return clean(finding.reason) or "nothing could be measured"
    left = f"{clean(part.attack)} leaves {points(part.after)} points; the limit is {limit}"
    today = _today(finding)
    return {
        Ruling.COVERED: f"harm is shown to go below the limit: {left}; {today}",
        Ruling.HARMLESS: f"within the limit: {left}; {today}",
        Ruling.OPEN: f"above the limit: {left}; {today}",
        Ruling.UNCLEAR: f"{_why_unclear(finding, part)}: {left}; {today}",
    }.get(finding.ruling, clean(finding.reason) or "nothing could be measured")


def worst_today(finding: Finding) -> Measured | None:
    """Return the attack that does most harm to what runs today."""
    known = [part for part in finding.parts if not math.isnan(part.before.mean)]
    return max(known, key=lambda part: part.before.mean, default=None)


def _today(finding: Finding) -> str:
    part = worst_today(finding)
    return f"today {clean(part.attack)} does {points(part.before)}" if part else "today unknown"


def _why_unclear(finding: Finding, part: Measured) -> str:
    if math.isnan(part.after.low):
        return "one seed decides nothing"
    if part.after.high <= finding.limit:
        return "below the limit, but not shown to be less than today"
    return "the interval straddles the limit"


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
    if cost.low > limit:
        return Ruling.OPEN
    return Ruling.HARMLESS if cost.high <= limit else Ruling.UNCLEAR


def utility_sentence(outcome: Outcome) -> str:
    """Say what the gated stack costs while nobody attacks."""
    limit = f"{outcome.limits.utility:g}"
    if not outcome.changes:
        return f"nothing: it is what runs today (the limit is {limit} points)"
    return f"{points(outcome.utility)} points of {metric(outcome)}; the limit is {limit}"


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
