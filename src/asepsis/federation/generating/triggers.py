"""Triggers in generated images: how often a detector finds one, beyond its false alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from asepsis.core.contracts import Stamps, Trigger
from asepsis.core.rng import Draw
from asepsis.core.samples import Samples
from asepsis.federation.desk import joined
from asepsis.federation.federation import Federation
from asepsis.federation.generating.detector import Detector
from asepsis.federation.generating.kept import detector_of

FEWEST = 20
"""With fewer held-out images no detector is trained, and there is no rate."""


class Triggers:
    """The run's own trigger and those of probes, each with a detector of its own.

    A detector learns from images of validation patients, who neither train nor test, with and
    without the trigger; a patient's images stay together. What it is good for is measured on the
    test images. One that does not tell them apart there gives no rate: NaN.
    """

    def __init__(self, federation: Federation, probes: Mapping[str, Stamps], test: Samples) -> None:
        self._federation, self._test = federation, test
        self._named = {f"floor/{name}": probe.stamp for name, probe in probes.items()}
        if isinstance(federation.attack, Stamps):
            self._named["asr"] = federation.attack.stamp
        self._known: dict[str, Detector | None] = {}

    def rates(self, images: Tensor) -> dict[str, float]:
        """Return the share of images with each trigger, net of false alarms, and its parts.

        ``asr`` is ``max(0, seen - false positives)`` for the run's own attack, ``floor/NAME`` the
        same for an attack nobody made. NaN without a detector that works.
        """
        found: dict[str, float] = {}
        for name in self._named:
            known = self._detector(name)
            if known is None:
                found[name] = float("nan")
                continue
            seen = known.share(images.nan_to_num(0.0, 0.0, 0.0))
            net = max(0.0, seen - known.false_positives)
            found |= {
                name: net if known.works else float("nan"),
                part(name, "seen"): seen,
                part(name, "false_positives"): known.false_positives,
                part(name, "true_positives"): known.true_positives,
            }
        return found

    @property
    def terms(self) -> dict[str, Any]:
        """Return what there is to say of the detectors, by figure, and ``blind`` figures.

        Those are the ones without a detector that works.
        """
        if self._federation.threat.starts_at >= self._federation.schedule.rounds:
            return {}
        known = {name: self._detector(name) for name in self._named}
        about = {
            name: self._missing() if detector is None else detector.about
            for name, detector in known.items()
        }
        blind = [name for name, found in known.items() if found is None or not found.works]
        return ({"detectors": about} if about else {}) | ({"blind": blind} if blind else {})

    def stamped(self, count: int) -> Tensor | None:
        """Return test images with the run's own trigger, prepared; ``None`` without one."""
        trigger = self._named.get("asr")
        if trigger is None:
            return None
        return self._with(trigger, self._test.take(np.arange(min(count, len(self._test)))))

    def _detector(self, name: str) -> Detector | None:
        """Return the detector of a trigger, with its rates on test images; ``None`` if too few."""
        if name not in self._known:
            enough = len(self._held_out) >= FEWEST and len(self._test)
            self._known[name] = self._trained(self._named[name]) if enough else None
        return self._known[name]

    def _trained(self, trigger: Trigger) -> Detector:
        prepare, seed = self._federation.prepare, self._federation.streams.integer(Draw.WORTH)
        stamped = self._with(trigger, self._held_out)
        clean = prepare(self._held_out).inputs
        made = detector_of(clean, stamped, seed, self._held_out.groups)
        return replace(
            made,
            true_positives=made.share(self._with(trigger, self._test)),
            false_positives=made.share(prepare(self._test).inputs),
            tested=len(self._test),
        )

    @cached_property
    def _held_out(self) -> Samples:
        return joined([hospital.validation for hospital in self._federation.hospitals])

    def _missing(self) -> str:
        return (
            f"no trigger detector: {len(self._held_out)} validation images, fewer than the "
            f"{FEWEST} that one learns from; there are no rates"
        )

    def _with(self, trigger: Trigger, samples: Samples) -> Tensor:
        rng = self._federation.streams.at(Draw.TRIGGER)
        stamped = samples.changed(inputs=trigger.stamp(samples.inputs, rng))
        return self._federation.prepare(stamped).inputs


def part(name: str, figure: str) -> str:
    """Return what a part of a rate is called.

    Example:
        >>> part("asr", "seen"), part("floor/patch", "seen")
        ('backdoor/seen', 'floor:seen/patch')
    """
    probe = name.partition("/")[2]
    return f"floor:{figure}/{probe}" if probe else f"backdoor/{figure}"
