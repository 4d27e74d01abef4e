"""One assessment from beginning to end: try, search, and measure what was chosen afresh."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from asepsis.assess.arsenal import Weapon, arsenal
from asepsis.assess.bench import Sheet, Step, cells_of, measure
from asepsis.assess.budget import Budget
from asepsis.assess.decide import answer_of, ruled
from asepsis.assess.outcome import Answer, Candidate, Finding, Outcome, Ruling
from asepsis.assess.search import (
    RUNGS,
    Rung,
    excess,
    promoted,
    ranked,
    scored,
    with_front,
)
from asepsis.assess.setting import Setting, setting_of
from asepsis.assess.spec import AssessSpec
from asepsis.assess.stacks import Stack, fitting, menu, name_of
from asepsis.core.errors import StoreError
from asepsis.experiments.learning import gain
from asepsis.experiments.results import Run
from asepsis.experiments.run import RunOptions
from asepsis.experiments.spec import digest
from asepsis.experiments.store import write_atomic
from asepsis.experiments.sweep import Listener, Progress
from asepsis.experiments.threats import threat
from asepsis.metrics.intervals import Interval, paired_difference, t_interval

TUNING_SEED = 101
"""Seeds of the search begin here, fresh ones at 0."""
FEWEST = 5
"""Fresh seeds below which no claim is made."""
SEARCH_SHARE = 0.5
"""Of the time for the search so much goes to the first rung."""
BREAKS = 0.5
"""The search is about threats that come at least half way to their limit today."""
Tell = Callable[[str], None]


@dataclass
class Diary:
    """What was decided, so that an assessment that goes on decides the same."""

    path: Path
    asked: str
    spent: float = 0.0
    decisions: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, asked: str, resume: bool) -> Diary:
        """Take up the diary of a folder, or begin one.

        Raises:
            StoreError: it is about something else, damaged, or there and nobody said resume.
        """
        if not path.exists():
            return cls(path, asked)
        if not resume:
            raise StoreError(
                "the folder already holds an assessment",
                place=str(path.parent),
                fix="go on with --resume, or choose another place with --out DIR",
            )
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            known = cls(path, str(table["asked"]), float(table["spent"]), dict(table["decisions"]))
        except (ValueError, KeyError, TypeError, OSError):
            raise StoreError("damaged", place=str(path), fix="choose another --out DIR") from None
        if known.asked != asked:
            raise StoreError(
                "the folder holds an assessment that asked something else",
                place=str(path.parent),
                fix="resume with the file it was started with, or choose another --out DIR",
            )
        return known

    def decide(self, what: str, made: Callable[[], Any], spent: float) -> Any:
        """Return what was decided before, else decide now and write it down."""
        if what not in self.decisions:
            self.decisions[what] = made()
        self.spent = max(self.spent, spent)
        table = {"asked": self.asked, "spent": self.spent, "decisions": self.decisions}
        write_atomic(self.path, json.dumps(table).encode())
        return self.decisions[what]


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


class _Assessment:
    def __init__(
        self, asked: AssessSpec, out: Path, how: RunOptions, tell: Tell, listener: Listener
    ) -> None:
        self.asked, self.out, self.how = asked, out, how
        self.tell, self.listener = tell, listener
        self.diary = _diary(asked, out, how.resume)
        self.setting: Setting = setting_of(asked)
        self.budget = Budget(60 * asked.minutes, self.diary.spent)
        self.today: Stack = asked.defenses
        self.notes = list(self.setting.notes)
        self.runs = 0
        self.arms, self.left_out = self._arms()

    def outcome(self) -> Outcome:
        """Try today's stack, search, measure the choice afresh, and decide."""
        first = self._first_look()
        chosen, candidates = self._search(first)
        gated = self.today if self.asked.gate == "today" else chosen
        sheet, seeds = self._measured_afresh(gated)
        limits = self.asked.limits
        findings = ruled(self.arms, sheet, self.today, gated, limits)
        lost = sheet.lost(gated, self.today)
        utility = paired_difference(list(lost.values()), [0.0] * len(lost))
        answer = answer_of(findings, utility, limits)
        poor = _undertrained(sheet.clean(self.today))
        if poor:
            self.notes.append(
                "the model has not learned what it is for, even without an attack: no claim is "
                "made; give it more rounds, or another learning rate"
            )
        return self._told(
            gated,
            findings=self._all(findings),
            candidates=tuple(replace(c, chosen=c.stack == gated) for c in candidates),
            utility=utility,
            answer=Answer.INCONCLUSIVE if poor else answer,
            seeds=seeds,
            sheet=sheet,
            poor=poor,
        )

    # ---- what is tried -------------------------------------------------------------------------

    def _arms(self) -> tuple[dict[str, list[Weapon]], dict[str, Finding]]:
        """Return the weapons of every threat, and findings about threats that have none."""
        kind, count = self.setting.facts.kind, self.setting.hospitals
        arms, left_out = {}, {}
        for key in self.asked.feared():
            weapons = arsenal(key, kind, count)
            if weapons:
                arms[key] = weapons
                continue
            limit = self.asked.limits.of(threat(key).goal)
            reason = f"makes no sense on data of kind '{kind}'"
            left_out[key] = Finding(key, limit, Ruling.NOT_APPLICABLE, (), reason)
        return arms, left_out

    def _first_look(self) -> Sheet:
        self.tell("What breaks today's stack")
        step = Step("today", (self.today,), self._all_weapons(), _tuning(1), "validation")
        return self._measure(step)

    def _all_weapons(self) -> tuple[Weapon, ...]:
        return _distinct([w for weapons in self.arms.values() for w in weapons])

    def _measure(self, step: Step) -> Sheet:
        began = time.monotonic()
        first: list[float] = []

        def heard(progress: Progress) -> None:
            if not first:
                first.append(time.monotonic() - began)
            self.listener(progress)

        sheet = measure(self.setting, step, self.out / step.name, self.how, heard)
        self.runs += len(sheet.runs)
        if first:
            self.budget.learned(time.monotonic() - began, first[0], len(sheet.runs))
        known = self.diary.decide(
            f"pace of {step.name}",
            lambda: [self.budget.rate, self.budget.start],
            self.budget.spent,
        )
        self.budget.rate, self.budget.start = (float(one) for one in known)
        return sheet

    # ---- the search ----------------------------------------------------------------------------

    def _search(self, first: Sheet) -> tuple[Stack, list[Candidate]]:
        limits = self.asked.limits
        breaking = [key for key, weapons in self.arms.items() if self._breaks(first, key, weapons)]
        today = scored(first, self.today, self.today, self._armed(breaking, True), 0, 1)
        if not self.asked.search or not breaking:
            if self.asked.search:
                self.notes.append("nothing that was tried breaks today's stack: no search")
            return self.today, [today]
        stacks, refused = self._menu(breaking)
        kept = self._afforded(stacks, breaking)
        if not kept:
            return self.today, [today, *refused]
        self.tell(f"Searching {len(kept)} stacks against {', '.join(breaking)}")
        best: dict[str, Candidate] = {}
        for number, rung in enumerate(RUNGS):
            seeds = _tuning(rung.seeds)
            name = f"search-{number + 1}"
            stacks_now = _with(self.today, kept)
            step = Step(name, stacks_now, self._chosen(breaking, rung), seeds, "validation")
            if number and not self._fits(step):
                self.notes.append(
                    f"the search ended before its rung {number + 1}: no time was left"
                )
                break
            sheet = self._measure(step)
            arms = self._armed(breaking, rung.adaptive)
            found = [
                scored(sheet, stack, self.today, arms, number + 1, rung.seeds)
                for stack in stacks_now
            ]
            best |= {one.name: one for one in found}
            kept = promoted(found, limits, len(RUNGS) - number - 1)
        last = max(one.rung for one in best.values())
        order = ranked([one for one in best.values() if one.rung == last], limits)
        own = best[name_of(self.today)]
        chosen = self.today
        if order and excess(order[0], limits) < excess(own, limits):
            chosen = order[0].stack
        else:
            self.notes.append(f"none of {len(best)} stacks does better than today's: nothing helps")
        return chosen, [*with_front(list(best.values())), *refused]

    def _breaks(self, sheet: Sheet, key: str, weapons: Sequence[Weapon]) -> bool:
        goal = threat(key).goal
        harm = [value for w in weapons for value in sheet.harm(self.today, w, goal).values()]
        return any(value > BREAKS * self.asked.limits.of(goal) for value in harm)

    def _menu(self, breaking: Sequence[str]) -> tuple[list[Stack], list[Candidate]]:
        every = [*self.asked.also, *menu(self.asked.hostile, signed="interception" in breaking)]
        stacks = [stack for stack in every if stack != self.today]
        kept, refused = fitting(stacks, self.setting.experiment())
        told = [
            Candidate(name_of(stacks[i]), stacks[i], 0, 0, math.nan, {}, refused=why)
            for i, why in refused.items()
        ]
        return kept, told

    def _afforded(self, stacks: list[Stack], breaking: Sequence[str]) -> list[Stack]:
        """Return as many stacks as the first rung has time for, by the diary if it knows."""
        rung = RUNGS[0]
        one = Step("", (self.today,), self._chosen(breaking, rung), _tuning(rung.seeds), "test")
        seconds = SEARCH_SHARE * (self.budget.left - self._final_takes(FEWEST))
        count = self.diary.decide(
            "stacks",
            lambda: max(self.budget.affords(seconds, cells_of(one) * rung.seeds) - 1, 0),
            self.budget.spent,
        )
        if count < len(stacks):
            self.notes.append(
                f"time for {count} of {len(stacks)} stacks: give it more minutes for all of them"
            )
        return stacks[: int(count)]

    def _fits(self, step: Step) -> bool:
        need = self.budget.takes(cells_of(step) * len(step.seeds)) + self._final_takes(FEWEST)
        return bool(
            self.diary.decide(step.name, lambda: need < self.budget.left, self.budget.spent)
        )

    def _final_takes(self, seeds: int) -> float:
        return self.budget.takes(self._final_cells() * seeds)

    def _final_cells(self) -> int:
        stacks = (self.today, ({"name": "another"},))
        return cells_of(Step("", stacks, self._all_weapons(), (0,), "test"))

    def _armed(self, keys: Sequence[str], adaptive: bool) -> dict[str, list[Weapon]]:
        return {key: [w for w in self.arms[key] if adaptive or not w.adaptive] for key in keys}

    def _chosen(self, keys: Sequence[str], rung: Rung) -> tuple[Weapon, ...]:
        armed = self._armed(keys, rung.adaptive)
        return _distinct([w for weapons in armed.values() for w in weapons])

    # ---- the last word -------------------------------------------------------------------------

    def _measured_afresh(self, gated: Stack) -> tuple[Sheet, tuple[int, ...]]:
        stacks = _with(self.today, [gated])
        one = Step("final", stacks, self._all_weapons(), (0,), "test")
        affordable = self.budget.affords(self.budget.left, cells_of(one))
        count = self.diary.decide(
            "seeds", lambda: max(min(affordable, self.asked.seeds), 3), self.budget.spent
        )
        if count < FEWEST:
            self.notes.append(
                f"time for {count} fresh seeds only: claims need {FEWEST}, give it more minutes"
            )
        seeds = tuple(range(int(count)))
        self.tell(f"Measuring {len(stacks)} stacks afresh: {count} new seeds, test patients")
        sheet = self._measure(replace(one, seeds=seeds))
        return sheet, seeds

    def _all(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        known = {finding.key: finding for finding in findings} | self.left_out
        return tuple(known[key] for key in self.asked.feared())

    def _told(
        self,
        gated: Stack,
        *,
        findings: tuple[Finding, ...],
        candidates: tuple[Candidate, ...],
        utility: Interval,
        answer: Answer,
        seeds: tuple[int, ...],
        sheet: Sheet,
        poor: bool,
    ) -> Outcome:
        setting, asked = self.setting, self.asked
        runs = {name_of(stack): sheet.clean(stack) for stack in _with(self.today, [gated])}
        some = next((run for found in runs.values() for run in found), None)
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
            utility=utility,
            clean={
                name: t_interval([run.tail(primary) for run in found])
                for name, found in runs.items()
            },
            over_patients=_over_patients(runs[name_of(gated)]),
            findings=findings,
            candidates=candidates,
            answer=answer,
            seeds=seeds,
            tuning_seeds=_tuning(max(rung.seeds for rung in RUNGS)),
            minutes=asked.minutes,
            spent=self.budget.spent,
            runs=self.runs,
            notes=tuple(self.notes),
            undertrained=poor,
        )


def _diary(asked: AssessSpec, out: Path, resume: bool) -> Diary:
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(error.strerror or "cannot be made", place=str(out)) from None
    return Diary.of(out / "progress.json", digest(asked.model_dump(mode="json")), resume)


def _tuning(count: int) -> tuple[int, ...]:
    return tuple(range(TUNING_SEED, TUNING_SEED + count))


def _with(today: Stack, others: Sequence[Stack]) -> tuple[Stack, ...]:
    return (today, *(stack for stack in others if stack != today))


def _distinct(weapons: Sequence[Weapon]) -> tuple[Weapon, ...]:
    """Return every weapon once: an attack may try several threats."""
    return tuple({(w.hook, w.name): w for w in weapons}.values())


def _undertrained(runs: Sequence[Run]) -> bool:
    gains = [found for run in runs if (found := gain(run)) is not None and math.isfinite(found)]
    return bool(gains) and math.fsum(gains) < 0


def _over_patients(runs: Sequence[Run]) -> Interval:
    found = [run.footer["over_patients"] for run in runs if run.footer.get("over_patients")]
    if not found:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = {key: math.fsum(item[key] for item in found) / len(found) for key in found[0]}
    return Interval(mean["value"], mean["low"], mean["high"], int(mean["patients"]))
