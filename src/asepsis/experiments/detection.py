"""How hard an attack is to detect: detectors chosen and set on tuning runs, then frozen.

A unit is one hospital in one round: in attacked rounds, hostile ones and the honest ones beside
them, as a ``monitor`` scored them. On tuning runs a detector is chosen by its AUC, and its
threshold is the highest that finds 95 % of the hostile. Both are frozen; runs on fresh seeds then
say what they are worth. Two defenders are told apart. One knows which attack will come, and
chooses and sets a detector for it: an upper bound. The other knows a list of attacks and has one
detector, with one threshold, for all of them: the honest figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.samples import Array
from asepsis.experiments.attacked import cut_off, hostile_rows
from asepsis.experiments.results import WATCHING, Run
from asepsis.federation.observing import tampers
from asepsis.metrics.detection import flagged_shares, threshold_at_recall
from asepsis.metrics.hospitals import MINIMUM
from asepsis.metrics.intervals import UNKNOWN, Interval, t_interval
from asepsis.metrics.utility import binary_auroc

RECALL = 0.95
"""The share of hostile hospital-rounds that a threshold must find on tuning seeds."""
LOUDEST = 1e300
"""How suspicious a hospital is whose update the front door dropped."""
SILENT = -1e300
"""How suspicious a hospital is of which a detector says nothing: silence raises no alarm."""

EASY, MODERATE, HARD = "easy", "moderate", "hard"
PASSIVE = "undetectable by construction"
UNKNOWN_WORD = "not estimable"
CUTOFFS: dict[str, tuple[float, float, float]] = {
    EASY: (0.95, 0.05, 0.90),
    MODERATE: (0.80, 0.25, 0.75),
}
"""Ours: the least AUC, the most false alarms and the least recall on fresh seeds for a word.

Means over seeds are compared; whatever misses one of the three is ``hard``. One false alarm among
20 honest hospital-rounds is what an operator could look into by hand, one among four is not.
"""


@dataclass(frozen=True, slots=True)
class Detection:
    """What a frozen detector finds on fresh seeds; intervals are over seeds.

    ``tried`` lists all detectors that it was chosen among, ``tuned`` the AUC of each on the tuning
    seeds. ``passive``: the attack sends nothing that a detector could see.
    """

    detector: str
    threshold: float
    auc: Interval
    false_alarms: Interval
    recall: Interval
    tried: tuple[str, ...]
    tuned: tuple[float, ...] = ()
    passive: bool = False

    @property
    def word(self) -> str:
        """The difficulty in a word, by :data:`CUTOFFS`."""
        return PASSIVE if self.passive else difficulty(self)


@dataclass(frozen=True, slots=True)
class Detections:
    """One attack before two defenders: who knew which one comes, and who did not."""

    informed: Detection
    general: Detection


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Hospital-rounds of one run: every detector's scores ``[n]``, and who is hostile ``[n]``."""

    scores: Mapping[str, Array]
    hostile: Array

    @property
    def enough(self) -> bool:
        """Whether there are at least ten hostile and ten honest ones."""
        bad = int(self.hostile.sum())
        return min(bad, len(self.hostile) - bad) >= MINIMUM

    def auc(self, detector: str) -> float:
        """Return how well a detector ranks hostile above honest; NaN where there are too few."""
        return binary_auroc(self.scores[detector], self.hostile) if self.enough else math.nan


def passive(run: Run) -> bool:
    """Whether a run's attack only looks: no update differs, so no detector can see it.

    A server that tampers with what it sends is not passive; its own monitors do not judge it, so
    that it is not estimable. What observers learn beside a run's attack, or without one, is not
    asked here: see :func:`undetectable`.
    """
    attack = run.cell.spec.attack
    if attack is None or run.resolved.get("role") not in WATCHING:
        return False
    return not tampers(build("attack", attack, "attack"))


def undetectable(tried: tuple[str, ...] = ()) -> Detection:
    """Return what is said of an attack that only looks."""
    return Detection("", math.nan, UNKNOWN, UNKNOWN, UNKNOWN, tried, passive=True)


def units(run: Run) -> Units:
    """Read one run's hospital-rounds out of its record.

    What somebody on the wire put in a hospital's place is hostile; what never arrived has no row.
    Rounds without a hostile row are left out, and those in which honest hospitals sent what
    is no number: the model had blown up before.
    """
    found: dict[str, list[float]] = {name: [] for name in _detectors(run)}
    hostile: list[bool] = []
    for item in run.rounds:
        bad, dropped = hostile_rows(item), set(item["dropped"])
        monitors = item.get("monitors") or {}
        if not bad or not dropped <= bad or not (monitors or dropped):
            continue
        present = [int(client) for client in item["present"] if int(client) not in cut_off(item)]
        hostile += [client in bad for client in present]
        for name, scores in found.items():
            said = monitors.get(name, {})
            scores += [_score(client, said, dropped) for client in present]
    return Units(
        {name: np.array(scores) for name, scores in found.items()}, np.array(hostile, bool)
    )


def _detectors(run: Run) -> list[str]:
    return list(dict.fromkeys(name for item in run.rounds for name in item.get("monitors") or {}))


def _score(client: int, said: Mapping[str, float], dropped: set[int]) -> float:
    if client in dropped:
        return LOUDEST
    score = float(said.get(str(client), math.nan))
    return SILENT if math.isnan(score) else score


def detection(tuning: Iterable[Run], fresh: Iterable[Run]) -> Detection:
    """Choose and set a detector on tuning runs of one attack, and measure it on fresh ones.

    Raises:
        ConfigError: a seed is used for both.
    """
    return detections({"": list(tuning)}, {"": list(fresh)})[""].informed


def detections(
    tuning: Mapping[str, Sequence[Run]], fresh: Mapping[str, Sequence[Run]]
) -> dict[str, Detections]:
    """Measure every attack of ``fresh``, by name, before both defenders.

    The detector for all attacks has the highest mean over attacks of its AUC on the tuning
    seeds; its threshold finds 95 % of the hostile hospital-rounds of all of them, pooled.

    Args:
        tuning: attack to runs on tuning seeds, each behind a monitor.
        fresh: attack to runs on fresh seeds; those without tuning runs have a general defender
            only.

    Raises:
        ConfigError: a seed is used for both.
    """
    _check_fresh(tuning, fresh)
    known = {attack: _judged(runs) for attack, runs in tuning.items()}
    known = {attack: found for attack, found in known.items() if found}
    general = _frozen(list(known.values()))
    made = {}
    for attack, runs in fresh.items():
        if runs and all(passive(run) for run in runs):
            made[attack] = Detections(undetectable(general.tried), undetectable(general.tried))
            continue
        informed = _frozen([known[attack]] if attack in known else [])
        judged = _judged(runs)
        made[attack] = Detections(*(one.measured(judged) for one in (informed, general)))
    return made


def _check_fresh(tuning: Mapping[str, Sequence[Run]], fresh: Mapping[str, Sequence[Run]]) -> None:
    used, new = (
        {run.cell.seed for runs in some.values() for run in runs} for some in (tuning, fresh)
    )
    if used & new:
        raise ConfigError(
            "detectors are chosen on other seeds than those they are measured on",
            place="seeds",
            got=sorted(used & new),
            fix="give the tuning runs seeds of their own",
        )


def _judged(runs: Iterable[Run]) -> list[Units]:
    """Return the hospital-rounds of attacked runs that ended with figures."""
    return [units(run) for run in runs if run.ok and not passive(run)]


@dataclass(frozen=True, slots=True)
class _Frozen:
    """A detector with its threshold, as chosen on tuning seeds."""

    detector: str
    threshold: float
    tried: tuple[str, ...]
    tuned: tuple[float, ...]

    def measured(self, runs: Sequence[Units]) -> Detection:
        """Measure it on fresh runs, seed by seed."""
        able = [one for one in runs if one.enough and self.detector in one.scores]
        rates = [
            flagged_shares(one.scores[self.detector], one.hostile, self.threshold) for one in able
        ]
        return Detection(
            self.detector,
            self.threshold,
            t_interval([one.auc(self.detector) for one in able]),
            t_interval([alarms for alarms, _ in rates]),
            t_interval([found for _, found in rates]),
            self.tried,
            self.tuned,
        )


def _frozen(attacks: Sequence[Sequence[Units]]) -> _Frozen:
    """Choose among the detectors that scored every tuning run; of equal ones, the first tried."""
    runs = [one for each in attacks for one in each]
    tried = tuple(runs[0].scores) if runs else ()
    tried = tuple(name for name in tried if all(name in one.scores for one in runs))
    tuned = tuple(_mean(_mean(one.auc(name) for one in each) for each in attacks) for name in tried)
    if not any(math.isfinite(value) for value in tuned):
        return _Frozen("", math.nan, tried, tuned)
    best = tried[int(np.nanargmax(tuned))]
    scores = np.concatenate([one.scores[best] for one in runs])
    hostile = np.concatenate([one.hostile for one in runs])
    return _Frozen(best, threshold_at_recall(scores, hostile, RECALL), tried, tuned)


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else math.nan


def difficulty(found: Detection) -> str:
    """Say in a word how hard it is, by the means over seeds and :data:`CUTOFFS`."""
    figures = (found.auc.mean, found.false_alarms.mean, found.recall.mean)
    if not all(math.isfinite(value) for value in figures):
        return UNKNOWN_WORD
    auc, alarms, recall = figures
    for word, (least, most, reached) in CUTOFFS.items():
        if auc >= least and alarms <= most and recall >= reached:
            return word
    return HARD
