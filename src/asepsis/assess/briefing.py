"""The first screen of an assessment: seven questions of a board and a clinician, none left out."""

from __future__ import annotations

import math

from asepsis.assess.decide import FEWEST
from asepsis.assess.outcome import Answer, Outcome, Ruling
from asepsis.assess.words import (
    answer_text,
    borne_out,
    broken_today,
    clean,
    harm_words,
    remains,
    utility_ruling,
    utility_sentence,
)
from asepsis.experiments.threats import THREATS
from asepsis.report.brief import PLAIN, Point
from asepsis.report.wording import counted, listed, number

ANSWERS = {Answer.PASS: "good", Answer.FAIL: "bad", Answer.INCONCLUSIVE: "unclear"}
FEW = 3


def briefing(outcome: Outcome) -> list[Point]:
    """Answer the questions of the first screen."""
    return [
        Point("The answer", answer_text(outcome), ANSWERS[outcome.answer]),
        _broken(outcome),
        _recommended(outcome),
        _price(outcome),
        _open(outcome),
        _sure(outcome),
        Point("What is not covered?", not_covered(outcome), "unclear"),
    ]


def _broken(outcome: Outcome) -> Point:
    question = "What breaks us today?"
    found = broken_today(outcome)
    stack = clean(outcome.today)
    if not found:
        said = f"Nothing that was tried was shown to harm {stack} beyond your limits."
        unsure = [f for f in outcome.findings if f.ruling is Ruling.UNCLEAR]
        said += " That is not shown to be harmless." if unsure else ""
        return Point(question, said, "unclear" if unsure else "good")
    said = "; ".join(
        f"{finding.threat.title.lower()} ({PLAIN[finding.key]}): "
        f"{harm_words(finding.threat.goal, part.before)}"
        for finding, part in found[:FEW]
    )
    more = f"; {counted(len(found) - FEW, 'other threat')}" if len(found) > FEW else ""
    return Point(question, f"With {stack}: {said}{more}.", "bad")


def _recommended(outcome: Outcome) -> Point:
    question, stack = "What do we recommend?", clean(outcome.recommended)
    if outcome.gate == "today":
        said = f"Judged is what runs today, {stack}, as was asked (gate = today)."
        return Point(question, said)
    if outcome.changes:
        return Point(question, *_instead(outcome, stack))
    return Point(question, *_kept(outcome, stack))


def _kept(outcome: Outcome, stack: str) -> tuple[str, str]:
    """Say why today's stack stays: another was not needed, none was tried, or none is better."""
    doubted = bool(outcome.ruled(Ruling.OPEN, Ruling.UNCLEAR, Ruling.UNTRIED))
    warned = f"Keep {stack}, and do not rely on it" if doubted else f"Keep {stack}"
    tone = "bad" if outcome.ruled(Ruling.OPEN) else "unclear" if doubted else ""
    if any(one.name != outcome.today and not one.refused for one in outcome.candidates):
        return f"Nothing that was tried helps more than it costs. {warned}.", tone
    return f"{warned}: {_why_none(outcome)}.", tone


def _why_none(outcome: Outcome) -> str:
    """Say why no other stack was tried, as the notes tell it."""
    notes = outcome.notes
    if any("no search" in note for note in notes):
        return "no other stack was needed, as nothing came near your limits before the last runs"
    if any("time" in note and ("stacks" in note or "search" in note) for note in notes):
        return "no other stack was tried: give it more minutes"
    if len(outcome.candidates) > 1:
        return "no other stack was tried: none fits, or none ended with figures"
    return "no other stack was tried: none was searched for, as asked, or none fits"


def _instead(outcome: Outcome, stack: str) -> tuple[str, str]:
    helped = [f.threat.title.lower() for f in outcome.ruled(Ruling.COVERED)]
    if helped and not borne_out(outcome):
        said = f"{stack} is shown to cover {listed(helped)}, but at a price above your limit: "
        return f"{said}no reason yet to leave {clean(outcome.today)}.", "unclear"
    if helped:
        said = f"Run {stack} instead of {clean(outcome.today)}. It is shown to cover: "
        return f"{said}{listed(helped)}.", "good"
    said = f"{stack} did best in the search, but fresh runs do not show that it covers any threat: "
    return f"{said}no reason yet to leave {clean(outcome.today)}.", "unclear"


def _price(outcome: Outcome) -> Point:
    said = f"While nobody attacks: {utility_sentence(outcome)}."
    tone = {Ruling.OPEN: "bad", Ruling.UNCLEAR: "unclear"}.get(utility_ruling(outcome), "good")
    found = {one.name: one for one in outcome.candidates}
    mine, own = found.get(outcome.recommended), found.get(outcome.today)
    if outcome.changes and mine and own:
        told = [
            f"{what} {number(more / base, 1)} times as {unit}"
            for what, more, base, unit in (
                ("takes", mine.seconds, own.seconds, "long a round"),
                ("sends", mine.bytes_up, own.bytes_up, "much"),
            )
            if base and math.isfinite(more / base)
        ]
        said += f" It {listed(told)}." if told else ""
    return Point("At what price?", said, tone)


def _open(outcome: Outcome) -> Point:
    left = remains(outcome)
    if not left:
        return Point("What stays open?", "None of the threats that were tried.", "good")
    tone = "bad" if outcome.ruled(Ruling.OPEN) else "unclear"
    return Point("What stays open?", f"{left[:1].upper()}{left[1:]}.", tone)


def _sure(outcome: Outcome) -> Point:
    seeds = counted(len(outcome.seeds), "repetition")
    said = (
        f"{seeds} with fresh random numbers on test patients that the search never saw; "
        f"{counted(outcome.hospitals, 'hospital')}, {outcome.samples:,} samples, "
        f"{counted(outcome.runs, 'simulated training')}. Brackets are 95% intervals."
    )
    if len(outcome.seeds) < FEWEST:
        said += f" A claim needs {FEWEST} repetitions: give it more minutes."
    return Point("How sure is this?", said, "unclear" if len(outcome.seeds) < FEWEST else "")


def not_covered(outcome: Outcome) -> str:
    """Say what the assessment has nothing to say about."""
    asked = {finding.key for finding in outcome.findings}
    unasked = [threat.title.lower() for threat in THREATS if threat.key not in asked]
    static = [f.threat.title.lower() for f in outcome.findings if f.parts and not f.adaptive]
    senseless = [f.threat.title.lower() for f in outcome.ruled(Ruling.NOT_APPLICABLE)]
    said = [f"not asked for: {listed(unasked)}"] if unasked else []
    said += [f"no sense on these data: {listed(senseless)}"] if senseless else []
    said += [f"no attacker who knows the defense was tried: {listed(static)}"] if static else []
    said.append(
        f"more than {counted(outcome.hostile, 'hostile hospital')}, other attacks, other data and "
        "real networks may behave otherwise"
    )
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}."
