"""What an assessment found, in all its parts: there is no single score."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from asepsis.assess.spec import LimitsSpec
from asepsis.experiments.spec import Component
from asepsis.experiments.threats import Threat, threat
from asepsis.metrics.intervals import Interval

SCHEMA = 1


class Answer(StrEnum):
    """What a pipeline is told; ``code`` is the exit code."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    @property
    def code(self) -> int:
        """0 pass, 1 fail, 3 inconclusive; 2 is bad input, which has no outcome."""
        return {"pass": 0, "fail": 1, "inconclusive": 3}[self.value]


class Ruling(StrEnum):
    """What may be said of one threat.

    ``COVERED``: every attack that was shown to harm today's stack beyond the limit is shown to
    harm the gated one less, and the intervals of what any attack leaves are below the limit.
    ``HARMLESS``: they are below the limit, and none was shown to be above it today. ``OPEN``: some
    interval of what is left is above the limit. ``UNCLEAR``: one straddles it. ``UNTRIED``: nothing
    could be measured; ``NOT_APPLICABLE``: the threat makes no sense on these data.
    """

    COVERED = "covered"
    HARMLESS = "harmless here"
    OPEN = "open"
    UNCLEAR = "unclear"
    UNTRIED = "not measured"
    NOT_APPLICABLE = "n/a"


@dataclass(frozen=True, slots=True)
class Measured:
    """One attack on both stacks, over fresh seeds and test patients; shares of harm.

    ``gained`` is the paired difference ``before - after``, ``p`` its p-value, ``above`` that of
    "what is left equals the limit": both Holm-corrected over all attacks of the assessment.
    ``failed`` counts seeds without figures.
    """

    attack: str
    adaptive: bool
    before: Interval
    after: Interval
    gained: Interval
    p: float = math.nan
    above: float = math.nan
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One threat: what was tried, what it did, and what may be said of it."""

    key: str
    limit: float
    ruling: Ruling
    parts: tuple[Measured, ...] = ()
    reason: str = ""

    @property
    def threat(self) -> Threat:
        """The threat itself."""
        return threat(self.key)

    @property
    def adaptive(self) -> bool:
        """Whether an attacker who knows the defense was tried."""
        return any(part.adaptive for part in self.parts)

    @property
    def worst(self) -> Measured | None:
        """The attack that leaves most harm."""
        known = [part for part in self.parts if not math.isnan(part.after.mean)]
        return max(known, key=lambda part: part.after.mean, default=None)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One stack of the search, by figures of validation patients and tuning seeds.

    ``utility`` is what it costs while nobody attacks, ``harm`` the most that any tried attack of a
    threat left, ``seconds`` a round, ``bytes_up`` what a hospital sends a round; ``rung`` is how
    far it came, ``front`` whether no other one is better in every respect.
    """

    name: str
    stack: tuple[Component, ...]
    rung: int
    seeds: int
    utility: float
    harm: dict[str, float]
    seconds: float = math.nan
    bytes_up: float = math.nan
    epsilon: float | None = None
    front: bool = False
    chosen: bool = False
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that an assessment says.

    ``today`` and ``recommended`` are stacks by name; ``recommended`` is today's where nothing was
    found that is better. ``clean`` is the primary figure without attack, of both. ``utility`` is
    what the recommended stack costs, paired: a share. ``over_patients`` is the uncertainty of the
    test set, apart from that over seeds.
    """

    name: str
    dataset: str
    public: bool
    kind: str
    hospitals: int
    samples: int
    hostile: int
    primary: str
    limits: LimitsSpec
    gate: str
    today: str
    recommended: str
    stack: tuple[Component, ...]
    utility: Interval
    clean: dict[str, Interval]
    over_patients: Interval
    findings: tuple[Finding, ...]
    candidates: tuple[Candidate, ...]
    answer: Answer
    seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...]
    minutes: float
    spent: float
    runs: int
    notes: tuple[str, ...] = ()
    undertrained: bool = False

    @property
    def changes(self) -> bool:
        """Whether another stack than today's is recommended."""
        return self.recommended != self.today

    def ruled(self, *rulings: Ruling) -> list[Finding]:
        """Return the findings with one of these rulings."""
        return [finding for finding in self.findings if finding.ruling in rulings]


def as_json(outcome: Outcome) -> str:
    """Write an outcome as one JSON document; what is not estimable is ``null``."""
    table = {"schema": SCHEMA, "exit_code": outcome.answer.code, **as_table(outcome)}
    return json.dumps(table, allow_nan=False, indent=2) + "\n"


def as_table(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain data, NaN as ``None``."""
    made: dict[str, Any] = _plain({**asdict(outcome), "limits": outcome.limits.model_dump()})
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, StrEnum) else value
