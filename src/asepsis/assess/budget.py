"""Time: what was spent, what runs take, and how much may still be asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

SAFETY = 1.15
"""Runs under attack take longer than the average says, and reports take time as well."""
GAIN = 0.25
"""What another worker adds to the speed of one, taken low: workers share memory and caches."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many runs of every kind a step has, and in how many groups they come.

    Runs of one stack and one seed stay on one worker: they are a group.
    """

    runs: Mapping[str, int]
    groups: int

    def times(self, count: int) -> Load:
        """Return the load of so many of these."""
        return Load({kind: n * count for kind, n in self.runs.items()}, self.groups * count)


@dataclass
class Budget:
    """Seconds in all; ``before`` were spent by an assessment that was stopped.

    A step takes its ``start`` (worker processes begin, data are divided), and every run what its
    kind ``costs`` in seconds of the wall clock while all ``jobs`` workers are busy; a kind that was
    never met costs as much as the others do on average.

    Example:
        >>> budget = Budget(100.0, clock=iter([0.0, 30.0, 30.0]).__next__)
        >>> budget.left
        70.0
    """

    seconds: float
    before: float = 0.0
    jobs: int = 1
    clock: Callable[[], float] = time.monotonic
    start: float = 0.0
    costs: dict[str, float] = field(default_factory=dict)
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

    def learned(
        self, seconds: float, start: float, took: Mapping[str, Sequence[float]], groups: int
    ) -> None:
        """Take note of a step: its seconds, those until its first round, those of its runs by kind.

        Runs are timed from their first round to their end; what they need besides is shared out.
        """
        every = sum(map(sum, took.values()))
        if not took:
            return
        self.start = start
        share = max(seconds - start, 1e-3) / max(every, 1e-6) / self._slower(groups)
        self.costs |= {kind: share * sum(some) / len(some) for kind, some in took.items()}

    def takes(self, load: Load) -> float:
        """Return how long a step will take."""
        usual = sum(self.costs.values()) / max(len(self.costs), 1)
        work = sum(n * self.costs.get(kind, usual) for kind, n in load.runs.items())
        return SAFETY * (self.start + work * self._slower(load.groups))

    def affords(self, seconds: float, each: Load, most: int) -> int:
        """Return how many such loads fit into a step of so many seconds."""
        fitting = (k for k in range(most, 0, -1) if self.takes(each.times(k)) <= seconds)
        return next(fitting, 0)

    def _slower(self, groups: int) -> float:
        """Return how many times as long work takes in too few groups for all workers."""
        busy = max(min(self.jobs, groups), 1)
        return (1 + GAIN * (self.jobs - 1)) / (1 + GAIN * (busy - 1))
