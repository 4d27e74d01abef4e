"""Time: what was spent, what runs take, and how much may still be asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

SAFETY = 1.15
"""Runs under attack take longer than the average says, and reports take time as well."""
GAIN = 0.5
"""What another worker adds to the speed of one, taken low: workers share memory and caches."""


@dataclass
class Budget:
    """Seconds in all; ``before`` were spent by an assessment that was stopped.

    A step takes its ``start`` (worker processes begin, data are divided) and a ``rate`` for every
    run on one of ``jobs`` workers; both are 0 while nobody knows. Runs of one stack and one seed
    stay on one worker: they are a group.

    Example:
        >>> budget = Budget(100.0, clock=iter([0.0, 30.0, 30.0]).__next__)
        >>> budget.left
        70.0
    """

    seconds: float
    before: float = 0.0
    jobs: int = 1
    clock: Callable[[], float] = time.monotonic
    rate: float = 0.0
    start: float = 0.0
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since the assessment began, those before it was stopped included."""
        return self.before + self.clock() - self._began

    @property
    def left(self) -> float:
        """Seconds that remain; below 0 when it is over time."""
        return self.seconds - self.spent

    def learned(self, seconds: float, start: float, runs: int, groups: int) -> None:
        """Take note of how long a step took, and how long until its first round was played."""
        if runs:
            self.start = start
            self.rate = max(seconds - start, 1e-3) * self._speed(groups) / runs

    def takes(self, runs: int, groups: int) -> float:
        """Return how long a step of so many runs will take."""
        return SAFETY * (self.start + self.rate * runs / self._speed(groups))

    def affords(self, seconds: float, each: int, groups: int, most: int) -> int:
        """Return how many times ``each`` runs in ``groups`` fit into a step of so many seconds."""
        fitting = (k for k in range(most, 0, -1) if self.takes(k * each, k * groups) <= seconds)
        return next(fitting, 0)

    def _speed(self, groups: int) -> float:
        return 1 + GAIN * (max(min(self.jobs, groups), 1) - 1)
