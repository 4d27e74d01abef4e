"""How much harm an attack did, as one share a run, and what such a share is called.

Severity is ranked inside one goal: a point of accuracy, a point of attack success and a point of
leakage are not the same, and no figure here adds them up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from asepsis.experiments.figures import ATTACK
from asepsis.experiments.leaks import scored, watching
from asepsis.experiments.results import Group, Run, beside_twin, excess_of
from asepsis.experiments.threats import Goal
from asepsis.metrics.hospitals import MINIMUM
from asepsis.metrics.intervals import SAME, Interval, paired_difference
from asepsis.metrics.measures import floor_name, measure

LEVELS: Final = ("none", "low", "moderate", "high", "critical")
UNKNOWN_LEVEL: Final = "not estimable"
CUTOFFS: Final[Mapping[Goal, tuple[float, float, float, float]]] = {
    Goal.AVAILABILITY: (0.05, 0.1, 0.2, 0.3),
    Goal.INTEGRITY: (0.05, 0.2, 0.5, 0.8),
    Goal.CONFIDENTIALITY: (0.05, 0.1, 0.25, 0.5),
}
"""From which share on harm is low, moderate, high, critical.

They are asepsis's own: no standard sets any. They were set before the study was run and stand in
its report. 5 points are what the tables call material. Of two classes nobody can lose more than
50 points of balanced accuracy, so 30 leave little of a model that was worth using. A backdoor has
set in at an excess of 50 % (as lifespans count) and works nearly always from 80 % on. Leakage is
the part of the way from what is known without looking (0) to certainty (1): a membership AUC of
0.55 where blind guessing has 0.50 is 0.1, one of 0.75 is 0.5.
"""


def harm(run: Run, twin: Run, goal: Goal, by: str | None = None) -> float:
    """Return what a run lost against its attack-free twin: a share, at most 1, below 0 a gain.

    Availability: loss of the task's primary figure, the mean over the last rounds; of a figure
    without natural bounds relative to the twin's (or to its floor, where that is more), and all of
    it (1) where it doubles, or where the model blew up and has no such figure.
    Integrity: excess attack success, ``(ASR - floor) / (1 - floor)``.
    Confidentiality: what the observer ``by`` learned beyond what is known without looking, see
    :func:`leakage`; ``None`` is the run's own attack. NaN where it cannot be estimated.
    """
    if goal is Goal.CONFIDENTIALITY:
        return leakage(run, by or ATTACK)
    if goal is Goal.INTEGRITY:
        return excess_of(run, *beside_twin(run, twin, Run.tail)) if _planted(run) else math.nan
    return _loss(run, twin)


def leakage(run: Run, by: str) -> float:
    """Return what an observer learned: 0 what is known without looking, 1 certainty.

    Who errs more than who does not look is below 0, at least -1: how far off says nothing.
    Membership: twice what its AUC exceeds the blind classifier's by (or 0.5, where that is more);
    of the federation as a whole where hospitals have fewer than ten members each on average: there
    a class that a hospital has none of tells who is no member, and nothing was remembered.
    Inversion: share of reconstructed inputs beyond the share that the better prior without any
    gradient reaches. Property and labels: the share of the better uninformed guess's error that it
    does without. Attribute: how much more often it is right of members than of others, beyond
    imputation. Classes: share of classes recognized, beyond the public means. Isolation: share of
    claims that single out one hospital's update. An observer that watched and claimed nothing
    learned nothing: 0. NaN where nobody of this name watched, or nothing can be estimated.
    """
    kinds = {str(item["by"]): str(item["kind"]) for item in run.footer.get("evidence") or []}
    if by not in kinds:
        return 0.0 if run.ok and by in watching(run) else math.nan
    read = _READERS.get(kinds[by])
    known = {**scored(run, by), HOSPITALS: float(len(run.resolved.get("samples", [])))}
    return _capped(read(known), least=-1.0) if read else math.nan


def level(goal: Goal, value: float) -> str:
    """Name a share of harm by the published cut-offs of its goal.

    Example:
        >>> level(Goal.AVAILABILITY, 0.12), level(Goal.INTEGRITY, 0.12), level(Goal.INTEGRITY, -0.1)
        ('moderate', 'low', 'none')
        >>> level(Goal.CONFIDENTIALITY, float("nan"))
        'not estimable'
    """
    if math.isnan(value):
        return UNKNOWN_LEVEL
    return LEVELS[sum(value >= cut - SAME for cut in CUTOFFS[goal])]


def severity(group: Group, goal: Goal, by: str | None = None) -> Interval:
    """Return a group's harm over its seeds with its interval; of one seed a figure without any."""
    values = [harm(run, twin, goal, by) for run, twin in group.good]
    return paired_difference(values, [0.0] * len(values))


def _planted(run: Run) -> bool:
    return "asr" in run.footer.get("tail", {})


def _loss(run: Run, twin: Run) -> float:
    name = str(run.resolved.get("primary", "accuracy"))
    kind, clean = measure(name), twin.tail(name)
    if run.footer["status"] == "diverged" and math.isnan(run.tail(name)) and math.isfinite(clean):
        return 1.0
    lost = (run.tail(name) - clean) * (1 if kind.lower else -1)
    if kind.share or name == "ssim":
        return lost
    least = twin.tail(floor_name(name)) if floor_name(name) else math.nan
    most = max(clean, least) if math.isfinite(least) else clean
    return _capped(lost / most) if most > 0 else math.nan


def _capped(value: float, least: float = -math.inf) -> float:
    return value if math.isnan(value) else max(min(value, 1.0), least)


Scores = Mapping[str, float]
HOSPITALS: Final = "hospitals"
"""How many hospitals there are, beside what an observer's claims are worth."""


def _membership(scores: Scores) -> float:
    few = scores.get("held-out/members", math.inf) < MINIMUM * scores[HOSPITALS]
    asked = ("federation",) if few else ("held-out", "federation")
    protocols = (scores.get(f"{name}/excess", math.nan) for name in asked)
    return 2 * next((value for value in protocols if not math.isnan(value)), math.nan)


def _saved(*baselines: str, error: str) -> Callable[[Scores], float]:
    """Read the share of the best uninformed guess's error that an attack does without."""

    def read(scores: Scores) -> float:
        known = [scores[name] for name in baselines if math.isfinite(scores.get(name, math.nan))]
        best = min(known, default=0.0)
        return (best - scores.get(error, math.nan)) / best if best > 0 else math.nan

    return read


def _of(name: str, prior: str = "") -> Callable[[Scores], float]:
    def read(scores: Scores) -> float:
        beside = scores.get(prior, math.nan) if prior else 0.0
        return scores.get(name, math.nan) - beside

    return read


_READERS: Final[Mapping[str, Callable[[Scores], float]]] = {
    "membership": _membership,
    "inversion": _of("excess/success"),
    "property": _saved("baseline_error", "prior_error", error="error"),
    "labels": _saved("prior_count_error", error="count_error"),
    "attribute": _of("leakage"),
    "classes": _of("recognized", prior="prior_recognized"),
    "isolation": _of("isolated"),
}
"""How each kind of evidence becomes a share."""
