"""The options that gradient inversions share, and the flow from a round's view to evidence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from asepsis.attacks.observe.inversion.labels import output_bias
from asepsis.attacks.observe.inversion.matching import Distance, squared
from asepsis.attacks.observe.inversion.problem import Dummies, Problem
from asepsis.attacks.observe.inversion.search import Attempt, evidence, search
from asepsis.attacks.observe.inversion.statistics import Statistics
from asepsis.attacks.observe.inversion.targets import chosen
from asepsis.core.registry import options
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, Learner, ServerView, Setting
from asepsis.core.updates import State


@options
class Inverter(ABC):
    """Looks for inputs that explain one hospital's update, or what a sum grants.

    ``simulate`` is the largest number of local steps that are simulated; an update of more of
    them is explained by one batch with the average gradient.
    """

    distance: ClassVar[Distance] = staticmethod(squared)

    client: Annotated[int, Field(ge=0)] | None = None
    restarts: Annotated[int, Field(ge=1, le=1000)] = 1
    simulate: Annotated[int, Field(ge=0, le=1000)] = 0

    def check(self, setting: Setting) -> None:
        """Refuse protocols whose updates tell no gradient, and labels that cannot be read off."""
        setting.scale(1)
        if self._infers(setting.learner):
            output_bias(setting.learner.layout, setting.learner.classes)

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Reconstruct a batch from one round's delivery."""
        problem = self._problem(view)
        if problem is None:
            return state, None
        best = search(problem, self._descend, self.restarts, rng, infer=self._infers(view.learner))
        return state, evidence(problem, best)

    def _problem(self, view: ServerView) -> Problem | None:
        target = chosen(view, self.client)
        if target is None:
            return None
        statistics = Statistics.of(view.learner, target) if self._statistics else None
        return Problem(
            learner=view.learner,
            target=target,
            distance=type(self).distance,
            simulated=1 < target.recipe.steps <= self.simulate,
            smooth=self._smooth,
            match_statistics=self._statistics,
            statistics=statistics,
        )

    @property
    def _smooth(self) -> float:
        return 0.0

    @property
    def _statistics(self) -> float:
        return 0.0

    def _infers(self, learner: Learner) -> bool:
        return False

    @abstractmethod
    def _descend(self, problem: Problem, dummies: Dummies, attempt: Attempt) -> None:
        """Search from these dummies, and offer what is found to the attempt."""


LABELED = frozenset({Kind.IMAGE, Kind.VOLUME, Kind.TABLE, Kind.SEQUENCE})
"""Kinds with one class per sample, so that the output bias tells labels."""
ALL = frozenset(Kind)
