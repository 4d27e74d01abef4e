"""Scores a generator against what only the simulation knows: real images, and the trigger."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from asepsis.core.contracts import Stamps
from asepsis.core.rng import Draw
from asepsis.core.samples import Prepare
from asepsis.core.stages import Inspector
from asepsis.core.threads import one_thread
from asepsis.core.threat import Role
from asepsis.core.updates import State
from asepsis.federation.desk import joined
from asepsis.federation.federation import Federation, RoundState
from asepsis.federation.generating.noise import Noise
from asepsis.federation.generating.reference import Reference
from asepsis.federation.generating.training import training_images
from asepsis.federation.generating.triggers import Triggers
from asepsis.federation.generating.value import Value
from asepsis.federation.observing import Seen
from asepsis.federation.scoring.kinds import judged
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.models.gan import Gan

MOST = 1000
"""So many real images are compared with as many generated ones, at most."""
FEWEST = 50
"""A hospital with fewer test images has no distance of its own."""


class GenerativeOracle:
    """Scores a global generator; what :class:`asepsis.federation.oracle.Oracle` is to answers.

    Real images are test images of all hospitals, at most 1,000, drawn once. The generator makes
    as many, of the same classes, from noise that is the same in every round and every cell.

    What a generator gives away is asked of the images of honest hospitals: those of hospitals that
    the threat model calls hostile are left out, attacked or not, since what they train on is not
    what they hold.
    """

    def __init__(
        self, federation: Federation, prepare: Prepare, probes: Mapping[str, Stamps] | None = None
    ) -> None:
        self._federation = federation
        module = copy.deepcopy(federation.plan.module).eval()
        assert isinstance(module, Gan)
        self._module, self._generator = module, module.generator
        test = joined([hospital.test for hospital in federation.hospitals])
        rng, seed = federation.streams.at(Draw.GENERATE), federation.streams.integer(Draw.WORTH)
        self._where = np.sort(rng.permutation(len(test))[:MOST])
        compared = test.take(self._where)
        hospitals = [hospital.id for hospital in federation.hospitals]
        unseen = joined([hospital.validation for hospital in federation.hospitals])
        unseen = unseen.take(rng.permutation(len(unseen))[: len(compared)])
        training = training_images(federation)
        self._reference = Reference(
            real=prepare(compared),
            train=training.shard,
            groups=training.groups,
            known=np.flatnonzero(~np.isin(training.owner, _hostile(federation))),
            strangers=prepare(unseen).inputs,
            classes=len(federation.facts.classes),
            seed=seed,
        )
        self._patients, self._left_out = compared.groups, training.about
        sizes = [len(hospital.test) for hospital in federation.hospitals]
        self._owner = np.repeat(hospitals, sizes)[self._where]
        self._triggers = Triggers(federation, probes or {}, compared)
        self._noise = Noise(federation.streams.integer(Draw.GENERATE))
        self._value = Value(self._reference, self._noise)

    def score(
        self, row: Tensor, round_: int, mind: State | None = None, twin: Tensor | None = None
    ) -> dict[str, float]:
        """Return distances of generated from real images, and triggers found in them.

        Trigger rates begin with the attack, as those of backdoors do. ``mind`` and ``twin`` play
        no part: no trigger of a generator changes over the rounds.
        """
        images = self._images(row)
        with one_thread():
            figures = self._figures(images)
            if round_ >= self._federation.threat.starts_at:
                figures |= self._triggers.rates(images)
        return figures

    def hospitals(self, row: Tensor) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
        """Return the kernel distance from each hospital's own images, and the largest.

        A hospital with fewer than 50 test images has none.
        """
        images, figures = self._images(row), {}
        for hospital in self._federation.hospitals:
            mine = np.flatnonzero(self._owner == hospital.id)
            own = self._reference.distance(images, mine) if len(mine) >= FEWEST else float("nan")
            figures[hospital.name] = {"kernel_distance": own}
        known = [found["kernel_distance"] for found in figures.values()]
        worst = float(np.nanmax(known)) if not np.isnan(known).all() else float("nan")
        return figures, {"kernel_distance": worst}

    def closing(self, row: Tensor) -> tuple[dict[str, float], dict[str, Any]]:
        """Return what the images of the finished generator are worth and give away, and the terms.

        Figures begin with ``downstream/`` and ``memorization/``.
        """
        self._load(row)
        with one_thread():
            figures = self._value.figures(self._generator)
        terms = {
            "extractor": self._reference.extractor.about + self._left_out,
            **self._triggers.terms,
            "images": len(self._reference.real),
            **self._value.terms(self._generator),
            "conditional": bool(self._generator.classes),
            "gaussian": self._reference.gaussian(),
            "floor": self._reference.about_floors,
        }
        return figures, terms

    def gallery(self, row: Tensor, count: int) -> dict[str, Tensor]:
        """Return generated images, of the same noise and classes whenever asked."""
        return {"generated": self._images(row)[:count].cpu().contiguous()}

    def shown(self, mind: State, count: int) -> dict[str, Tensor]:
        """Return test images as they are, and with the attack's trigger where there is one."""
        real = self._reference.real.inputs[:count].cpu().contiguous()
        stamped = self._triggers.stamped(count)
        return {"real": real} | ({} if stamped is None else {"stamped": stamped.contiguous()})

    def judge(self, seen: Seen, truth: Truth) -> Leak:
        """Score what an observer claims: see :mod:`asepsis.federation.scoring`."""
        return judged(seen.evidence, truth)

    def over_patients(self, row: Tensor) -> dict[str, float]:
        """Return the kernel distance with its 95 % interval over patients of the test set."""
        with one_thread():
            found = self._reference.interval(
                self._images(row), self._patients, self._federation.streams.at(Draw.BOOTSTRAP)
            )
        patients = len(np.unique(self._patients))
        return {"value": found.mean, "low": found.low, "high": found.high, "patients": patients}

    def prior(self) -> dict[str, float]:
        """Return the figures of the generator before any training."""
        plan = self._federation.plan
        images = self._images(plan.layout.flatten(plan.module))
        with one_thread():
            return self._figures(images)

    def certificates(self, state: RoundState) -> dict[str, dict[str, float]]:
        """Return nothing: what is certified are answers."""
        return {}

    def inspect(
        self, row: Tensor, inspectors: Mapping[str, Inspector], mind: State
    ) -> dict[str, dict[str, dict[str, float]]]:
        """Return nothing: inspectors are refused at build."""
        return {}

    def maps(
        self, row: Tensor, inspectors: Mapping[str, Inspector], mind: State, count: int
    ) -> dict[str, Tensor]:
        """Return nothing: a generator answers to no image that could be explained."""
        return {}

    def _figures(self, images: Tensor) -> dict[str, float]:
        return self._reference.figures(images, labeled=bool(self._generator.classes))

    def _load(self, row: Tensor) -> None:
        self._federation.plan.layout.load(self._module, row)

    def _images(self, row: Tensor) -> Tensor:
        """Generate as many images as there are real ones, each of the class of one of those."""
        self._load(row)
        return self._noise.images(self._generator, self._reference.real.targets)


def _hostile(federation: Federation) -> tuple[int, ...]:
    threat = federation.threat
    return threat.clients if threat.role is Role.CLIENT else ()
