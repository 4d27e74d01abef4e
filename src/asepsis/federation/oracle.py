"""The ground truth: test sets, who is hostile, what was trained on. For metrics only."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asepsis.core.contracts import BackdoorAttack, Carried, Evolving, Trigger
from asepsis.core.rng import Draw
from asepsis.core.samples import Array, Prepare
from asepsis.core.stages import Inspector
from asepsis.core.updates import State
from asepsis.federation.certified import certificates
from asepsis.federation.desk import joined
from asepsis.federation.exam import Exam, answered, predict, prior_answers
from asepsis.federation.federation import Federation, RoundState
from asepsis.federation.inspection import Door, Scores, inspected, pictured
from asepsis.federation.observing import Seen
from asepsis.federation.scoring.kinds import judged
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.metrics.hospitals import UNSEEN, per_hospital, worst_hospital
from asepsis.metrics.intervals import bootstrap_interval

DRAWS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Stamped:
    """Test samples with a trigger: where they are in the test set, and prepared.

    ``natural``: they carry it by nature, nothing was stamped.
    """

    where: Array
    inputs: Tensor
    natural: bool = False


class Oracle:
    """Scores a global model against what only the simulation knows."""

    def __init__(
        self,
        federation: Federation,
        prepare: Prepare,
        probes: Mapping[str, BackdoorAttack] | None = None,
    ) -> None:
        self._federation = federation
        self._task = federation.plan.task
        self._module = copy.deepcopy(federation.plan.module).eval()
        tests = [hospital.test for hospital in federation.hospitals]
        self._prepare, self._raw = prepare, joined(tests)
        self._exam = Exam.of(self._raw, prepare)
        self._owner = np.repeat(
            [hospital.id for hospital in federation.hospitals], [len(test) for test in tests]
        )
        unseen = federation.unseen
        self._unseen = None if unseen is None else Exam.of(unseen.test, prepare)
        self._probes = dict(probes or {})
        self._fixed = {
            name: (attack, self._stamped(attack.stamp))
            for name, attack in _triggers(federation, probes or {}).items()
        }

    def _stamped(self, trigger: Trigger) -> Stamped:
        """Put the trigger on the test samples, or find those that carry it by nature."""
        rng = self._federation.streams.at(Draw.TRIGGER)
        if isinstance(trigger, Carried):
            where = np.flatnonzero(trigger.carries(self._raw.inputs))
            return Stamped(where, self._exam.inputs[torch.from_numpy(where)], natural=True)
        stamped = self._raw.changed(inputs=trigger.stamp(self._raw.inputs, rng))
        return Stamped(np.arange(len(stamped)), self._prepare(stamped).inputs)

    def score(
        self, row: Tensor, round_: int, mind: State | None = None, twin: Tensor | None = None
    ) -> dict[str, float]:
        """Return the task's metrics on all hospitals' test samples, and attack success.

        ``unseen/METRIC`` is the same of the hospital that takes no part, where there is one.
        ``asr`` is the success of the run's own attack, ``backdoor/METRIC`` what else the task
        says of it; ``floor/NAME`` and ``floor:METRIC/NAME`` the same for an attack nobody made, on
        an attack-free twin. All from the first attacked round on: what comes before is the same
        with and without attack, down to the record.

        Args:
            row: the global model.
            round_: the round it comes from.
            mind: the attack's state, for triggers that change over the rounds.
            twin: the attack-free twin's model of the same round: the ``floor`` of such triggers.
        """
        self._federation.plan.layout.load(self._module, row)
        answers, unanswered = answered(self.predict(self._exam.inputs))
        scores = self._marks(self._exam, answers)
        if self._unseen is not None:
            strange, _ = answered(self.predict(self._unseen.inputs))
            scores |= _unseen(self._marks(self._unseen, strange))
        if unanswered:
            scores["unanswered"] = unanswered
        if round_ < self._federation.threat.starts_at:
            return scores
        for name, (attack, stamped) in self._fixed.items():
            scores |= _named(self._planted(attack, stamped, answers), name)
        evolving = self._federation.attack
        if isinstance(evolving, BackdoorAttack) and isinstance(evolving, Evolving):
            stamped = self._stamped(evolving.trigger_in(mind or {}))
            scores |= _named(self._planted(evolving, stamped, answers), "asr")
            scores |= self._floor(twin, evolving, stamped)
        return scores

    def _marks(self, exam: Exam, answers: Array) -> dict[str, float]:
        return exam.marks(self._task, answers, self._federation.facts.volume)

    def prior(self) -> dict[str, float]:
        """Return the figures of who answers without looking at the input; empty if unknown."""
        answers = prior_answers(self._federation, self._exam)
        if answers is None:
            return {}
        scores = self._marks(self._exam, answers)
        if self._unseen is not None:
            strange = prior_answers(self._federation, self._unseen)
            scores |= {} if strange is None else _unseen(self._marks(self._unseen, strange))
        return scores

    def _floor(
        self, twin: Tensor | None, attack: BackdoorAttack, stamped: Stamped
    ) -> dict[str, float]:
        if twin is None:
            return {}
        self._federation.plan.layout.load(self._module, twin)
        clean, _ = answered(self.predict(self._exam.inputs))
        return _named(self._planted(attack, stamped, clean), "floor")

    def _planted(self, attack: BackdoorAttack, stamped: Stamped, clean: Array) -> dict[str, float]:
        """Score the loaded model on triggered samples, beside its answers to clean ones."""
        triggered = self.predict(stamped.inputs)  # an answer that is no number is no success
        where = stamped.where
        erased = getattr(attack, "effect", "") == "erase"
        scores = self._task.backdoor_metrics(
            clean[where], triggered, self._exam.targets[where], attack.target, erased=erased
        )
        if stamped.natural:  # a sample that carries its trigger has no copy without it
            return {name: score for name, score in scores.items() if "paired" not in name}
        return scores

    def shown(self, mind: State, count: int) -> dict[str, Tensor]:
        """Return test images as they are and with an attack's last trigger, as prepared.

        Only where the trigger changes over the rounds: any other can be stamped at any time.
        """
        attack = self._federation.attack
        if not (isinstance(attack, BackdoorAttack) and isinstance(attack, Evolving)):
            return {}
        stamped = self._stamped(attack.trigger_in(mind))
        clean = self._exam.inputs[torch.from_numpy(stamped.where)]
        return {"real": clean[:count].clone(), "triggered": stamped.inputs[:count].clone()}

    def inspect(
        self, row: Tensor, inspectors: Mapping[str, Inspector], mind: State
    ) -> dict[str, dict[str, Scores]]:
        """Return what inspectors find in a model: see :mod:`asepsis.federation.inspection`.

        An attacked run is searched for its own backdoor, ``attack``, as its trigger is in the
        end; an attack-free twin for each probe's by name, those that change over the rounds left
        out.
        """
        own, doors = self._door(mind), {}
        if own is not None:
            doors["attack"] = own
        elif self._federation.attack is None:
            doors = {
                name: Door(probe, probe.stamp)
                for name, probe in self._probes.items()
                if not isinstance(probe, Evolving)
            }
        return inspected(self._federation, self._raw, row, inspectors, doors)

    def _door(self, mind: State) -> Door | None:
        """Return the run's own backdoor, with its trigger as it is in the end."""
        attack = self._federation.attack
        if not isinstance(attack, BackdoorAttack):
            return None
        trigger = attack.trigger_in(mind) if isinstance(attack, Evolving) else attack.stamp
        return Door(attack, trigger)

    def maps(
        self, row: Tensor, inspectors: Mapping[str, Inspector], mind: State, count: int
    ) -> dict[str, Tensor]:
        """Return triggered test images and the saliency maps of them; nothing without either."""
        door = self._door(mind)
        if door is None:
            return {}
        return pictured(self._federation, self._raw, row, inspectors, door, count)

    def certificates(self, state: RoundState) -> dict[str, dict[str, float]]:
        """Return what stages prove of a model: see :mod:`asepsis.federation.certified`."""
        return certificates(self._federation, self._raw, state)

    def hospitals(self, row: Tensor) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
        """Return the task's metrics for every hospital by name, and the worst estimable ones."""
        self._federation.plan.layout.load(self._module, row)
        probabilities, _ = answered(self.predict(self._exam.inputs))
        mine = [self._owner == hospital.id for hospital in self._federation.hospitals]
        figures = per_hospital(
            [probabilities[where] for where in mine],
            [self._exam.targets[where] for where in mine],
            self._task.metrics,
            patients=[self._exam.patients[where] for where in mine],
        )
        names = [hospital.name for hospital in self._federation.hospitals]
        return dict(zip(names, figures, strict=True)), worst_hospital(figures)

    def over_patients(self, row: Tensor) -> dict[str, float]:
        """Return the primary metric with its 95 % interval over the patients of the test set.

        Patients are drawn with replacement. This is how much the test set alone makes the figure
        uncertain; seeds are another matter and are never mixed with it.
        """
        self._federation.plan.layout.load(self._module, row)
        answers, _ = answered(self.predict(self._exam.inputs))
        found = bootstrap_interval(
            self._exam.figure(self._task, answers),
            self._exam.patients,
            self._federation.streams.at(Draw.BOOTSTRAP),
            draws=DRAWS,
        )
        return {"value": found.mean, "low": found.low, "high": found.high, "patients": found.n}

    def predict(self, inputs: Tensor) -> Array:
        """Return the loaded model's answers: probabilities ``[n, classes]``, or images."""
        return predict(self._task, self._module, inputs)

    def judge(self, seen: Seen, truth: Truth) -> Leak:
        """Score what an observer claims: see :mod:`asepsis.federation.scoring`."""
        return judged(seen.evidence, truth)


def _triggers(
    federation: Federation, probes: Mapping[str, BackdoorAttack]
) -> dict[str, BackdoorAttack]:
    """Return the backdoors whose trigger stays the same, by the name of their figures."""
    named = {f"floor/{name}": attack for name, attack in probes.items()}
    if isinstance(federation.attack, BackdoorAttack):
        named["asr"] = federation.attack
    return {name: attack for name, attack in named.items() if not isinstance(attack, Evolving)}


def _named(scores: dict[str, float], name: str) -> dict[str, float]:
    """Name a backdoor's figures in the record: the success itself first, the others beside it."""
    kind, _, probe = name.partition("/")
    prefix, suffix = ("backdoor/", "") if kind == "asr" else ("floor:", f"/{probe}" * bool(probe))
    others = {f"{prefix}{key}{suffix}": score for key, score in scores.items() if key != "asr"}
    return {name: scores["asr"], **others}


def _unseen(scores: dict[str, float]) -> dict[str, float]:
    return {f"{UNSEEN}{name}": score for name, score in scores.items()}
