"""Measuring a step, timing it, and stopping it where its time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from asepsis.assess.bench import Sheet, Step, kind_of, load_of, measure
from asepsis.assess.budget import Budget
from asepsis.assess.diary import Diary
from asepsis.assess.setting import Setting
from asepsis.experiments.run import Cancelled, RunOptions
from asepsis.experiments.sweep import Listener, Progress

EVERY = 10.0
"""Seconds from one note of the time spent to the next: what a stop may forget."""


@dataclass
class Pacer:
    """Measures steps one after another and learns how long runs take."""

    setting: Setting
    out: Path
    how: RunOptions
    listener: Listener
    budget: Budget
    diary: Diary
    runs: int = 0
    _noted: float = field(default_factory=time.monotonic)

    def measure(self, step: Step, over: Callable[[], bool], *, again: bool = False) -> Sheet:
        """Measure a step until it is done, or until ``over`` says that its time is.

        ``again``: the step was measured with fewer seeds, and only the others are played.
        """
        watch = _Watch(self, over)
        how = replace(self.how, resume=self.how.resume or again)
        sheet = measure(self.setting, step, self.out / step.name, how, watch.heard)
        self.runs += len(watch.ended) if again else len(sheet.runs)
        budget, groups = self.budget, load_of(step).groups
        budget.learned(watch.seconds(), watch.first, watch.took, groups)
        pace = [budget.start, budget.costs]
        start, costs = self.diary.decide(f"pace of {step.name}", lambda: pace, budget.spent)
        budget.start, budget.costs = float(start), {str(k): float(v) for k, v in costs.items()}
        return sheet

    def note(self) -> None:
        """Write down the time from time to time."""
        if time.monotonic() - self._noted > EVERY:
            self._noted = time.monotonic()
            self.diary.write(self.budget.spent)


class _Watch:
    """Listens to a step: when its first round was played, and how long runs took."""

    def __init__(self, pacer: Pacer, over: Callable[[], bool]) -> None:
        self.pacer, self.over = pacer, over
        self.began, self.first = time.monotonic(), 0.0
        self.took: dict[str, list[float]] = {}
        self.ended: set[int] = set()
        self._playing: dict[int, float] = {}

    def seconds(self) -> float:
        """Return the seconds since the step began."""
        return time.monotonic() - self.began

    def heard(self, progress: Progress) -> None:
        """Take note of progress, pass it on, and stop the step when its time is over."""
        now, cell = self.seconds(), progress.cell
        if progress.kind == "round":  # runs that a stopped assessment left are only read
            self.first = self.first or now
            self._playing.setdefault(id(cell), now)
        elif id(cell) in self._playing:
            took = self.took.setdefault(kind_of(cell.spec), [])
            took.append(now - self._playing.pop(id(cell)))
            self.ended.add(id(cell))
        self.pacer.note()
        self.pacer.listener(progress)
        if self.over():
            raise Cancelled
