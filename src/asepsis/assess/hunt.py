"""The search for a stack: who breaks today's, which stacks fit, and who comes through."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from asepsis.assess.arsenal import Weapon
from asepsis.assess.bench import Sheet, Step, load_of
from asepsis.assess.outcome import Candidate
from asepsis.assess.pace import Pacer
from asepsis.assess.search import LAST, RUNGS, Rung, excess, promoted, ranked, scored, with_front
from asepsis.assess.setting import Setting
from asepsis.assess.stacks import Stack, fitting, menu, name_of
from asepsis.experiments.threats import threat

TUNING_SEED = 101
"""Seeds of the search begin here, fresh ones at 0."""
BREAKS = 0.5
"""The search is about threats that come at least half way to their limit today."""
SHARES = (0.35, 0.5, 1.0)
"""Of the time that is left for the search so much may go to each rung."""


@dataclass
class Found:
    """The stack that was chosen, all that were tried, and what a reader must be told."""

    stack: Stack
    candidates: list[Candidate]
    notes: list[str] = field(default_factory=list)


@dataclass
class Hunt:
    """One search; ``reserve`` says how long the last step of the assessment needs."""

    setting: Setting
    pacer: Pacer
    arms: Mapping[str, list[Weapon]]
    first: Sheet
    reserve: Callable[[], float]
    tell: Callable[[str], None]
    notes: list[str] = field(default_factory=list)
    rungs: tuple[Rung, ...] = RUNGS

    @property
    def today(self) -> Stack:
        """The stack that is run today."""
        return self.setting.asked.defenses

    def only_today(self) -> Found:
        """Return today's stack, as it was found at first."""
        own = scored(self.first, self.today, self.today, self.arms, 0, 1)
        return Found(self.today, [own], self.notes)

    def search(self) -> Found:
        """Search among the stacks that fit, as long as there is time."""
        breaking = [key for key in self.arms if self._breaks(key)]
        if not breaking:
            self.notes.append("nothing that was tried breaks today's stack: no search")
            return self.only_today()
        stacks, refused = self._menu()
        kept = self._afforded(stacks, breaking)
        if not kept:
            alone = self.only_today()
            return Found(alone.stack, [*alone.candidates, *refused], self.notes)
        self.tell(f"Searching {len(kept)} stacks against {', '.join(breaking)}")
        tried, complete = self._climb(kept, breaking)
        if not tried:
            return self.only_today()
        chosen = self._best(tried, decided=complete and len(kept) == len(stacks))
        return Found(chosen, [*with_front(list(tried.values())), *refused], self.notes)

    def _climb(
        self, kept: list[Stack], breaking: Sequence[str]
    ) -> tuple[dict[str, Candidate], bool]:
        """Try stacks rung by rung; also say whether every attack was tried on some."""
        tried: dict[str, Candidate] = {}
        for number, rung in enumerate(self.rungs):
            kept, seeds = self._room(number, rung, kept, breaking) if number else (kept, rung.seeds)
            arms = self._armed(breaking, rung)
            stacks = (self.today, *(stack for stack in kept if stack != self.today))
            weapons = _of(arms)
            step = Step(f"search-{number + 1}", stacks, weapons, tuning(seeds), "validation")
            sheet = self._measured(step) if kept else None
            if sheet is None:
                self.notes.append(f"the search ended before its rung {number + 1}: no time is left")
                return tried, number > 1
            found = [scored(sheet, stack, self.today, arms, number + 1, seeds) for stack in stacks]
            tried |= {one.name: one for one in found}
            kept = promoted(found, self.setting.asked.limits, len(RUNGS) - number - 1)
        return tried, True

    def _room(
        self, number: int, rung: Rung, kept: list[Stack], breaking: Sequence[str]
    ) -> tuple[list[Stack], int]:
        """Return the stacks and seeds that a rung has time for: at least three, or none."""
        least = min(LAST, len(kept))
        for seeds in range(rung.seeds, 0, -1):
            room = self._affords(number, replace(rung, seeds=seeds), len(kept), breaking)
            if room >= least:
                return kept[:room], seeds
        return [], rung.seeds

    def _measured(self, step: Step) -> Sheet | None:
        """Measure a rung; nothing where it took too long."""
        budget, diary = self.pacer.budget, self.pacer.diary
        if diary.decisions.get(f"{step.name} is whole") is False:
            return None
        sheet = self.pacer.measure(step, lambda: budget.left < self.reserve())
        whole = diary.decide(f"{step.name} is whole", lambda: sheet.whole, budget.spent)
        return sheet if whole else None

    def _best(self, tried: Mapping[str, Candidate], *, decided: bool) -> Stack:
        limits = self.setting.asked.limits
        last = max(one.rung for one in tried.values())
        order = ranked([one for one in tried.values() if one.rung == last], limits)
        own = tried[name_of(self.today)]
        if order and excess(order[0], limits) < excess(own, limits):
            return order[0].stack
        self.notes.append(
            f"none of {len(tried) - 1} stacks does better than today's: nothing helps"
            if decided
            else "no stack was found that does better than today's in the time that there was"
        )
        return self.today

    def _breaks(self, key: str) -> bool:
        """Whether an attack comes near its limit today; what could not be measured may."""
        limit = self.setting.asked.limits.of(threat(key).goal)
        return any(not self._harm(key, weapon) <= BREAKS * limit for weapon in self.arms[key])

    def _harm(self, key: str, weapon: Weapon) -> float:
        found = list(self.first.harm(self.today, weapon, threat(key).goal).values())
        return math.fsum(found) / len(found) if found else math.nan

    def _armed(self, breaking: Sequence[str], rung: Rung) -> dict[str, list[Weapon]]:
        keys = list(self.arms) if rung.every_threat else breaking
        if rung.every_attack:
            return {key: self.arms[key] for key in keys}
        return {key: [self._worst(key)] for key in keys}

    def _worst(self, key: str) -> Weapon:
        def order(weapon: Weapon) -> float:
            harm = self._harm(key, weapon)
            return harm if math.isfinite(harm) else -math.inf

        return max(self.arms[key], key=order)

    def _menu(self) -> tuple[list[Stack], list[Candidate]]:
        asked = self.setting.asked
        built_in = menu(asked.hostile, signed="interception" in self.arms)
        every = asked.only or (*asked.also, *built_in)
        named = {name_of(stack): stack for stack in every}
        stacks = [stack for stack in named.values() if stack != self.today]
        kept, refused = fitting(stacks, self.setting.experiment())
        told = [
            Candidate(name_of(stacks[i]), stacks[i], 0, 0, math.nan, {}, refused=why)
            for i, why in refused.items()
        ]
        return kept, told

    def _afforded(self, stacks: list[Stack], breaking: Sequence[str]) -> list[Stack]:
        """Return as many stacks as the first rung has time for, today's beside them.

        Where there is no time for all, more stacks are worth more than more seeds.
        """
        room = self._affords(0, RUNGS[0], len(stacks), breaking)
        if room < len(stacks):
            self.rungs = (replace(RUNGS[0], seeds=1), *RUNGS[1:])
            room = self._affords(0, self.rungs[0], len(stacks), breaking)
        if room < len(stacks):
            self.notes.append(
                f"time for {room} of {len(stacks)} stacks: give it more minutes for all of them"
            )
        return stacks[:room]

    def _affords(self, number: int, rung: Rung, most: int, breaking: Sequence[str]) -> int:
        """Return how many stacks a rung has time for, today's beside them."""
        budget = self.pacer.budget
        weapons = _of(self._armed(breaking, rung))
        one = load_of(Step("", (self.today,), weapons, tuning(rung.seeds), "validation"))
        seconds = SHARES[number] * (budget.left - self.reserve())
        count = self.pacer.diary.decide(
            f"stacks of rung {number + 1} for {rung.seeds} seeds",
            lambda: max(budget.affords(seconds, one, most + 1) - 1, 0),
            budget.spent,
        )
        return int(count)


def _of(arms: Mapping[str, Sequence[Weapon]]) -> tuple[Weapon, ...]:
    return distinct([weapon for weapons in arms.values() for weapon in weapons])


def tuning(count: int = RUNGS[-1].seeds) -> tuple[int, ...]:
    """Return the seeds of the search, or the first few of them.

    Example:
        >>> tuning(2)
        (101, 102)
    """
    return tuple(range(TUNING_SEED, TUNING_SEED + count))


def distinct(weapons: Sequence[Weapon]) -> tuple[Weapon, ...]:
    """Return every weapon once: an attack may try several threats."""
    return tuple({(weapon.hook, weapon.name): weapon for weapon in weapons}.values())
