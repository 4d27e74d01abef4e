"""Made-up outcomes: what is written about them can be checked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from asepsis.assess.outcome import Answer, Candidate, Finding, Measured, Outcome, Ruling
from asepsis.assess.spec import LimitsSpec
from asepsis.metrics.intervals import UNKNOWN, Interval

HOSTILE = "</script><script>alert('x')</script>]]>\"&\x00\x1b[31m\u202e\ud800 /home/eva/mine.csv"
MEAN = ({"name": "mean"},)
MEDIAN = ({"name": "median"},)


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 7, 0.01)


def measured(
    attack: str, before: tuple[float, float], after: tuple[float, float], *, adaptive: bool = False
) -> Measured:
    gained = (before[0] - after[1], before[1] - after[0])
    return Measured(attack, adaptive, interval(*before), interval(*after), interval(*gained), 0.004)


COVERED = Finding(
    "label-flip",
    0.05,
    Ruling.COVERED,
    (
        measured("label-flip", (0.2, 0.3), (0.0, 0.02)),
        measured("tuned-flip", (0.3, 0.4), (0.01, 0.03), adaptive=True),
    ),
)
OPEN = Finding("backdoor", 0.2, Ruling.OPEN, (measured("badnets", (0.8, 0.9), (0.6, 0.7)),))
UNCLEAR = Finding(
    "gradient-manipulation", 0.05, Ruling.UNCLEAR, (measured("ipm", (0.2, 0.3), (0.0, 0.1)),)
)
HARMLESS = Finding(
    "membership-inference",
    0.2,
    Ruling.HARMLESS,
    (measured("loss-mia", (0.0, 0.1), (0.0, 0.1)),),
)
UNTRIED = Finding(
    "property-inference",
    0.2,
    Ruling.UNTRIED,
    (Measured("property-inference", False, UNKNOWN, UNKNOWN, UNKNOWN),),
)
SENSELESS = Finding(
    "generator-poisoning", 0.05, Ruling.NOT_APPLICABLE, (), "makes no sense on tables"
)


def candidate(name: str, utility: float, harm: float, **changes: Any) -> Candidate:
    made = Candidate(name, ({"name": name},), 2, 2, utility, {"label-flip": harm}, 0.1, 12000.0)
    return replace(made, **changes)


def outcome(*findings: Finding, answer: Answer = Answer.PASS, **changes: Any) -> Outcome:
    made = Outcome(
        name="ours",
        dataset="csv",
        public=False,
        kind="table",
        hospitals=4,
        samples=920,
        hostile=1,
        primary="balanced_accuracy",
        limits=LimitsSpec(),
        gate="recommended",
        today="mean",
        recommended="median",
        stack=MEDIAN,
        utility=interval(0.0, 0.01),
        clean={"mean": interval(0.8, 0.82), "median": interval(0.79, 0.82)},
        over_patients=Interval(0.8, 0.75, 0.85, 183),
        findings=findings or (COVERED, HARMLESS),
        candidates=(
            candidate("mean", 0.0, 0.4, front=True),
            candidate("median", 0.01, 0.02, front=True, chosen=True),
            candidate("krum", 0.03, 0.1),
            candidate("bulyan", math.nan, math.nan, rung=0, refused="needs 7 hospitals"),
        ),
        answer=answer,
        seeds=(0, 1, 2, 3, 4),
        tuning_seeds=(101, 102),
        minutes=10.0,
        spent=480.0,
        runs=99,
        notes=("time for 4 of 25 stacks",),
    )
    return replace(made, **changes)


def hostile() -> Outcome:
    """An outcome whose every free text is hostile."""
    bad = Finding("backdoor", 0.2, Ruling.OPEN, (measured(HOSTILE, (0.8, 0.9), (0.6, 0.7)),))
    why = replace(SENSELESS, reason=HOSTILE)
    return outcome(
        bad,
        why,
        answer=Answer.FAIL,
        name=HOSTILE,
        dataset=HOSTILE,
        kind=HOSTILE,
        today=HOSTILE,
        recommended=f"{HOSTILE}2",
        primary="accuracy",
        clean={HOSTILE: interval(0.8, 0.9)},
        candidates=(
            candidate(HOSTILE, 0.0, 0.4),
            candidate("x", 0.1, 0.2, refused=HOSTILE),
            candidate(f"{HOSTILE}2", 0.01, 0.1),
        ),
        notes=(HOSTILE,),
    )


EVERY = (COVERED, OPEN, UNCLEAR, HARMLESS, UNTRIED, SENSELESS)
