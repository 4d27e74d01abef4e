"""Noise poisoning: inputs, labels or both are spoiled at stated levels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from asepsis.attacks.data.choice import drawn
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Array, DataFacts, Kind, Samples

PIXELS = {"low": 0.05, "high": 0.5}
"""Standard deviation of the noise on pixels, as a share of their range."""

FEATURES = {"low": 0.2, "high": 2.0}
"""Standard deviation of the noise on a feature, in deviations of that feature."""

LABELS = {"low": 0.1, "high": 0.5}
"""Share of labels that become wrong."""


@register("attack", "noise")
class Noise:
    """Noise poisoning: Gaussian noise on inputs, random wrong labels, or both.

    ``level`` fixes the amount beforehand: pixels (uint8) get noise of standard deviation 0.05
    (low) or 0.5 (high) times 255, then are rounded and clipped; features of tables and channels of
    signals 0.2 or 2 times their own training deviation (pixels of medical images deviate by
    about a quarter of their range, so that both scales mean the same), missing values stay
    missing; of the labels a share of 0.1 or 0.5, drawn without replacement, becomes another class
    with equal probability. With several labels per image the share counts all n × k entries and
    the drawn ones are inverted. The labels of paired images are images: ``labels`` gives them
    noise too, relative to 255 where they are 8 bits, to the width of their window where they are
    measured in a unit (of -1024 to 3071 HU: 205 and 2048 HU), and clips them to it; masks stay.
    ``sigma`` (in the units above) and ``share`` replace a level's value.

    Raises ConfigError for a ``sigma`` or ``share`` that this kind of noise does not use, and for
    wrong labels where there is only one class.

    Source: the levels are our own; Gaussian noise on images and labels at two levels as in the
    security analysis of federated MRI-to-CT synthesis, doi 10.1007/s10916-026-02436-8

    Fidelity: abstract

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> own = Samples(np.full((2, 4, 4), 128, np.uint8), np.zeros(2, int), *2 * [np.arange(2)])
        >>> facts = DataFacts(Kind.IMAGE, ("well", "ill"))
        >>> made = Noise(sigma=0.1).poison(own, facts, np.random.default_rng(0))
        >>> 15 < made.inputs.std() < 40, made.targets.tolist()
        (np.True_, [0, 0])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)
    # Noise is part of the images that a generator imitates, and of the labels it is asked for.
    generates: ClassVar[bool] = True

    on: Literal["inputs", "labels", "both"] = "inputs"
    level: Literal["low", "high"] = "high"
    sigma: Annotated[float, Field(ge=0)] | None = None
    share: Annotated[float, Field(ge=0, le=1)] | None = None

    def poison(self, own: Samples, facts: DataFacts, rng: np.random.Generator) -> Samples:
        """Return the noisy samples."""
        paired = facts.kind is Kind.PAIRED_IMAGE
        self._check(paired)
        inputs, targets = own.inputs, own.targets
        if self.on != "labels":
            inputs = self._noisy(inputs, (0, 255), rng)
        if self.on != "inputs" and paired:
            limits = (0, 255) if targets.dtype == np.uint8 else facts.window
            targets = self._noisy(targets, limits, rng)
        elif self.on != "inputs":
            targets = self._wrong(targets, facts, rng)
        return own.changed(inputs=inputs, targets=targets)

    def _noisy(self, values: Array, limits: tuple[float, float], rng: np.random.Generator) -> Array:
        scale = self._scale(values, limits)
        made = values.copy()
        for one in made:  # sample by sample: the noise of a whole hospital may not fit in memory
            noise = scale * rng.standard_normal(one.shape, np.float32)
            if made.dtype.kind == "f":
                one += noise.astype(made.dtype)
            else:
                one[...] = np.clip(np.rint(one + noise), *limits)
        return made

    def _scale(self, values: Array, limits: tuple[float, float]) -> Array:
        if values.dtype.kind != "f":
            share = PIXELS[self.level] if self.sigma is None else self.sigma
            return np.asarray((limits[1] - limits[0]) * share)
        share = FEATURES[self.level] if self.sigma is None else self.sigma
        return share * deviations(values)

    def _wrong(self, targets: Array, facts: DataFacts, rng: np.random.Generator) -> Array:
        share = LABELS[self.level] if self.share is None else self.share
        made = targets.copy()
        where = drawn(np.arange(made.size), share, rng)
        if made.ndim == 2:
            made.flat[where] = 1 - made.flat[where]
            return made
        classes = len(facts.classes)
        if classes < 2:
            raise ConfigError("wrong labels need two classes", place="attack", got=classes)
        made[where] = (made[where] + rng.integers(1, classes, size=len(where))) % classes
        return made

    def _check(self, paired: bool) -> None:
        used = {
            "sigma": paired or self.on != "labels",
            "share": not paired and self.on != "inputs",
        }
        for name, value in (("sigma", self.sigma), ("share", self.share)):
            if value is not None and not used[name]:
                raise ConfigError(
                    f"noise on {self.on} has no {name} here",
                    place=f"attack.{name}",
                    got=value,
                    fix="leave it out, or change attack.on",
                )


def deviations(values: Array) -> Array:
    """Return the standard deviation of every feature (the last axis), missing values left out.

    Example:
        >>> deviations(np.array([[0.0, 5.0], [2.0, np.nan]]))
        array([1., 0.])
    """
    flat = np.asarray(values.reshape(-1, values.shape[-1]), np.float64)
    known = np.isfinite(flat)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, flat, 0).sum(axis=0) / count
    return np.asarray(np.sqrt((np.where(known, flat - mean, 0) ** 2).sum(axis=0) / count))
