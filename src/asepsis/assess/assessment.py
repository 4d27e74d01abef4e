"""One assessment from beginning to end: try, search, and measure what was chosen afresh."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asepsis.assess.arsenal import Weapon, arsenal
from asepsis.assess.bench import Sheet, Step, load_of
from asepsis.assess.budget import Budget
from asepsis.assess.decide import FEWEST, answer_of, firm, ruled
from asepsis.assess.diary import diary_in
from asepsis.assess.hunt import Hunt, distinct, tuning
from asepsis.assess.outcome import Answer, Candidate, Finding, Outcome, Ruling
from asepsis.assess.pace import Pacer
from asepsis.assess.setting import Setting, setting_of
from asepsis.assess.spec import AssessSpec
from asepsis.assess.stacks import Stack, name_of
from asepsis.experiments.results import Run, over_patients, shown_to_learn
from asepsis.experiments.run import RunOptions
from asepsis.experiments.sweep import Listener
from asepsis.experiments.threats import HOSPITAL, threat
from asepsis.metrics.intervals import Interval, paired_difference, t_interval

LATE = 0.5
"""The last step is stopped when it is late by half of all the time."""
KEPT = 6
"""So many fresh seeds' time is kept for the last step while a search goes on."""
UNTRAINED = "the model has not learned what it is for"
MORE = "more seeds"
KNOWN = {"root": "clean samples of the server's own"}
Tell = Callable[[str], None]


def assess(
    asked: AssessSpec,
    out: Path,
    how: RunOptions,
    tell: Tell = lambda _: None,
    listener: Listener = lambda _: None,
) -> Outcome:
    """Assess a federation within its time, and return everything that was found.

    Args:
        asked: what the consortium asks.
        out: a folder for all results; ``how.resume`` goes on in one.
        how: engine, device, worker processes.
        tell: called with a line for every step.
        listener: called with the progress of runs.

    Raises:
        AsepsisError: data, model or settings do not fit, or the folder cannot be written.
    """
    return _Assessment(asked, out, how, tell, listener).outcome()


@dataclass(frozen=True, eq=False)
class _Last:
    """What the last step found."""

    sheet: Sheet
    seeds: tuple[int, ...]
    findings: tuple[Finding, ...]
    utility: Interval
    poor: bool


class _Assessment:
    def __init__(
        self, asked: AssessSpec, out: Path, how: RunOptions, tell: Tell, listener: Listener
    ) -> None:
        self.asked, self.tell = asked, tell
        self.setting: Setting = setting_of(asked)
        self.today: Stack = asked.defenses
        self.notes = list(self.setting.notes)
        self.arms, self.left_out = _arms(asked, self.setting)
        diary = diary_in(asked, out, how.resume)
        self.budget = Budget(60 * asked.minutes, diary.spent, how.jobs or 1)
        self.pacer = Pacer(self.setting, out, how, listener, self.budget, diary)

    def outcome(self) -> Outcome:
        """Try today's stack, search, measure the choice afresh, and decide."""
        gated, candidates = self._chosen() if self.arms else (self.today, ())
        last = self._last_word(gated)
        answer = answer_of(last.findings, last.utility, self.asked.limits)
        if gated != self.today and not _held(last, self.asked):
            self.notes.append(
                f"measured afresh, {name_of(gated)} was not shown to help: the search was wrong "
                "about it, and nothing is recommended over today's stack"
            )
        return self._told(gated, candidates, last, Answer.INCONCLUSIVE if last.poor else answer)

    def _chosen(self) -> tuple[Stack, tuple[Candidate, ...]]:
        """Search a stack, where one is asked for and something breaks today's."""
        self.tell("What breaks today's stack")
        step = Step("today", (self.today,), self._weapons(), tuning(1), "validation")
        first = self.pacer.measure(step, self._late)
        searches = self.asked.search and self.asked.gate == "recommended"
        hunt = Hunt(self.setting, self.pacer, self.arms, first, self._final_takes, self.tell)
        found = hunt.search() if searches else hunt.only_today()
        self.notes += found.notes
        told = [replace(one, chosen=one.stack == found.stack) for one in found.candidates]
        return found.stack, tuple(told)

    def _weapons(self) -> tuple[Weapon, ...]:
        return distinct([w for weapons in self.arms.values() for w in weapons])

    def _late(self) -> bool:
        return self.budget.left < -LATE * self.budget.seconds

    def _final(self, gated: Stack, seeds: tuple[int, ...] = (0,)) -> Step:
        stacks = (self.today,) if gated == self.today else (self.today, gated)
        return Step("final", stacks, self._weapons(), seeds, "test")

    def _final_takes(self) -> float:
        """Return the least time that the last step needs, with another stack than today's."""
        return self.budget.takes(load_of(self._final(({"name": "another"},))).times(KEPT))

    def _last_word(self, gated: Stack) -> _Last:
        """Measure afresh: as many seeds as time is expected for, then as many as time is left for.

        Only the clock decides how many, never what was found.
        """
        step, budget, diary = self._final(gated), self.budget, self.pacer.diary
        each, most = load_of(step), self.asked.seeds

        def afforded() -> int:
            return budget.affords(budget.left, each, most)

        count = int(diary.decide("seeds", lambda: max(afforded(), 3), budget.spent))
        count += int(diary.decisions.get(MORE, 0))  # when this goes on after a stop
        self.tell(f"Measuring afresh: {count} new seeds, test patients")
        sheet = self.pacer.measure(replace(step, seeds=tuple(range(count))), self._late)
        if MORE not in diary.decisions and sheet.whole:
            more = int(diary.decide(MORE, lambda: min(afforded(), most - count), budget.spent))
            count += more
            if more:
                self.tell(f"Time is left for {more} seeds more")
                step = replace(step, seeds=tuple(range(count)))
                sheet = self.pacer.measure(step, self._late, again=True)
        if count < FEWEST:
            self.notes.append(
                f"time for {count} fresh seeds only: claims need {FEWEST}, give it more minutes"
            )
        if not sheet.whole:
            self.notes.append("stopped late: some runs of the last step are missing")
        return self._read(sheet, gated, tuple(range(count)))

    def _read(self, sheet: Sheet, gated: Stack, seeds: tuple[int, ...]) -> _Last:
        limits = self.asked.limits
        poor = not shown_to_learn(sheet.clean(self.today))
        found = {one.key: one for one in ruled(self.arms, sheet, self.today, gated, limits)}
        if poor:
            self.notes.append(
                f"{UNTRAINED}, even without an attack: no claim is made; give it more rounds, or "
                "another learning rate"
            )
            found = {
                key: replace(one, ruling=Ruling.UNCLEAR, reason=UNTRAINED)
                for key, one in found.items()
            }
        findings = tuple((found | self.left_out)[key] for key in self.asked.feared())
        lost = list(sheet.lost(gated, self.today).values())
        utility = paired_difference(lost, [0.0] * len(lost))
        if any(not math.isfinite(value) for value in lost):
            utility = replace(utility, n=0)  # what fails is no small price
        return _Last(
            sheet=sheet,
            seeds=seeds,
            findings=findings,
            utility=utility if gated == self.today else firm(utility),
            poor=poor,
        )

    def _told(
        self, gated: Stack, candidates: tuple[Candidate, ...], last: _Last, answer: Answer
    ) -> Outcome:
        setting, asked = self.setting, self.asked
        pair = {name_of(stack): last.sheet.clean(stack) for stack in (self.today, gated)}
        some = next((run for found in pair.values() for run in found), None)
        self.notes += _knowledge(name_of(gated), pair[name_of(gated)])
        primary = str(some.resolved["primary"]) if some else ""
        return Outcome(
            name=asked.name,
            dataset=str(asked.data["name"]),
            public=setting.public,
            kind=str(setting.facts.kind),
            hospitals=setting.hospitals,
            samples=setting.samples,
            hostile=asked.hostile,
            primary=primary,
            limits=asked.limits,
            gate=asked.gate,
            today=name_of(self.today),
            recommended=name_of(gated),
            stack=gated,
            utility=last.utility,
            clean={
                name: t_interval([run.tail(primary) for run in found])
                for name, found in pair.items()
            },
            over_patients=over_patients(pair[name_of(gated)]),
            findings=last.findings,
            candidates=candidates,
            answer=answer,
            seeds=last.seeds,
            tuning_seeds=tuning(),
            minutes=asked.minutes,
            spent=self.budget.spent,
            runs=self.pacer.runs,
            notes=tuple(self.notes),
            undertrained=last.poor,
        )


def _arms(
    asked: AssessSpec, setting: Setting
) -> tuple[dict[str, list[Weapon]], dict[str, Finding]]:
    """Return the weapons of every threat, and findings about threats that have none."""
    kind = setting.facts.kind
    arms, left_out = {}, {}
    for key in asked.feared():
        weapons = arsenal(key, kind, setting.hospitals)
        reason = "" if weapons else f"makes no sense on data of kind '{kind}'"
        if threat(key).attacker == HOSPITAL and not asked.hostile:
            reason = "no hospital is hostile here (hostile = 0)"
        if reason:
            limit = asked.limits.of(threat(key).goal)
            left_out[key] = Finding(key, limit, Ruling.NOT_APPLICABLE, (), reason)
        else:
            arms[key] = weapons
    return arms, left_out


def _knowledge(name: str, runs: Sequence[Run]) -> list[str]:
    """Say what a stack must know besides the updates: clean samples at the server are no detail."""
    told = runs[0].resolved if runs else {}
    known = [str(item) for stage in told.get("defenses", []) for item in stage.get("knows", [])]
    root = told.get("root") or {}
    of = f" (here {root['samples']} samples of {root['whose']})" if root else ""
    plain = ", ".join(KNOWN.get(item, item) for item in dict.fromkeys(known))
    return [f"{name} must know besides the updates: {plain}{of}"] if known else []


def _held(last: _Last, asked: AssessSpec) -> bool:
    """Whether what was chosen is shown to help on fresh seeds, at a price that is agreed."""
    covers = any(finding.ruling is Ruling.COVERED for finding in last.findings)
    return covers and not last.utility.low > asked.limits.utility / 100
