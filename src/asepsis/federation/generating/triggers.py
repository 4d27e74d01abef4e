"""Triggers in generated images: how often a detector finds one, beyond its false alarms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from asepsis.core.contracts import Stamps, Trigger
from asepsis.core.rng import Draw
from asepsis.core.samples import Samples
from asepsis.federation.desk import joined
from asepsis.federation.federation import Federation
from asepsis.federation.generating.detector import Detector
from asepsis.federation.generating.kept import Content, detector_of

FEWEST = 20
"""With fewer held-out images no detector is trained, and there is no rate."""


class Triggers:
    """The run's own trigger and those of probes, each with a detector of its own.

    A detector learns from images of validation patients, who neither train nor test, with and
    without the trigger; its false alarms are counted on the test images.
    """

    def __init__(self, federation: Federation, probes: Mapping[str, Stamps], test: Samples) -> None:
        self._federation, self._test = federation, test
        self._named = {f"floor/{name}": probe.stamp for name, probe in probes.items()}
        if isinstance(federation.attack, Stamps):
            self._named["asr"] = federation.attack.stamp
        self._known: dict[str, tuple[Detector, float, float]] = {}

    def rates(self, images: Tensor) -> dict[str, float]:
        """Return the share of images with each trigger, net of false alarms, and its parts.

        ``asr`` is ``max(0, seen - false positives)`` for the run's own attack, ``floor/NAME`` the
        same for an attack nobody made. With too few held-out images there is no rate.
        """
        found: dict[str, float] = {}
        for name in self._named:
            known = self._detector(name)
            if known is None:
                continue
            detector, false, true = known
            seen = detector.share(images.nan_to_num(0.0, 0.0, 0.0))
            prefix, _, probe = name.partition("/")
            begin = "backdoor/" if prefix == "asr" else "floor:"
            suffix = f"/{probe}" if probe else ""
            found |= {
                name: max(0.0, seen - false),
                f"{begin}seen{suffix}": seen,
                f"{begin}false_positives{suffix}": false,
                f"{begin}true_positives{suffix}": true,
            }
        return found

    @property
    def terms(self) -> dict[str, Any]:
        """Return what there is to say of the detectors that were trained, by figure."""
        about = {name: known[0].about for name, known in self._known.items()}
        return {"detectors": about} if about else {}

    def stamped(self, count: int) -> Tensor | None:
        """Return test images with the run's own trigger, prepared; ``None`` without one."""
        trigger = self._named.get("asr")
        if trigger is None:
            return None
        return self._with(trigger, self._test.take(np.arange(min(count, len(self._test)))))

    def _detector(self, name: str) -> tuple[Detector, float, float] | None:
        """Return the detector of a trigger, its false and its true positive rate."""
        if name not in self._known:
            held_out = joined([hospital.validation for hospital in self._federation.hospitals])
            if len(held_out) < FEWEST or not len(self._test):
                return None
            trigger, prepare = self._named[name], self._federation.prepare
            pair = Content.of(prepare(held_out).inputs, self._with(trigger, held_out))
            made = detector_of(pair, self._federation.streams.integer(Draw.WORTH))
            self._known[name] = (
                made,
                made.share(prepare(self._test).inputs),
                made.share(self._with(trigger, self._test)),
            )
        return self._known[name]

    def _with(self, trigger: Trigger, samples: Samples) -> Tensor:
        rng = self._federation.streams.at(Draw.TRIGGER)
        stamped = samples.changed(inputs=trigger.stamp(samples.inputs, rng))
        return self._federation.prepare(stamped).inputs
