"""Label flipping: the images stay, the diagnoses lie."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from asepsis.attacks.data.choice import check_pair, drawn
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Array, DataFacts, Kind, Samples

Class = Annotated[int, Field(ge=0)]


@register("attack", "label-flip")
class LabelFlip:
    """Label flipping: a hostile hospital trains on wrong diagnoses.

    With k classes, ``mode`` says what a label becomes: ``all-to-all`` ``y -> (y + 1) mod k``
    (with two classes: the other one), ``one-to-one`` ``source -> target`` and nothing else,
    ``random`` any other class with equal probability. ``share`` of the samples that the mode
    could change are drawn without replacement, at least one where ``share`` > 0. Inputs, ids and
    groups stay as they are. A hospital without a sample that the mode could change keeps its
    labels; where that is so at every hostile hospital, the federation is refused.

    With several labels per image (uint8 ``[n, k]``) the same modes move findings, so that an
    image keeps its number of findings: ``all-to-all`` turns the label vector by one place,
    ``random`` by 1 to k - 1 places, drawn for each image, ``one-to-one`` takes the source finding
    away and adds the target one. Images with every finding or none cannot be turned. ``invert``
    exists only here: every finding is told as absent and every absent one as present, which gives
    an image many findings and is easily noticed.

    Raises ConfigError for a source or target that is no class, when they are the same, and for
    ``invert`` with one label per sample.

    Source: Tolpegin et al., Data Poisoning Attacks Against Federated Learning Systems, ESORICS
    2020, section 3 (one-to-one); several labels per image: our own

    Fidelity: own

    Tasks: image, multilabel-image, volume, table, sequence

    Example:
        >>> from asepsis.core.samples import DataFacts, Kind, Samples
        >>> own = Samples(np.zeros((3, 2)), np.array([0, 1, 2]), np.arange(3), np.arange(3))
        >>> facts = DataFacts(Kind.TABLE, ("a", "b", "c"))
        >>> LabelFlip().poison(own, facts, np.random.default_rng(0)).targets
        array([1, 2, 0])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(
        {Kind.IMAGE, Kind.MULTILABEL_IMAGE, Kind.VOLUME, Kind.TABLE, Kind.SEQUENCE}
    )
    # A conditional generator learns from labels as a classifier does: classes change places.
    generates: ClassVar[bool] = True

    mode: Literal["all-to-all", "one-to-one", "random", "invert"] = "all-to-all"
    source: Class = 0
    target: Class = 1
    share: Annotated[float, Field(ge=0, le=1)] = 1.0

    def poison(self, own: Samples, facts: DataFacts, rng: np.random.Generator) -> Samples:
        """Return the samples with flipped labels."""
        classes, several = len(facts.classes), own.targets.ndim == 2
        self._check(classes, several)
        where = drawn(np.flatnonzero(self._could_change(own.targets)), self.share, rng)
        targets = own.targets.copy()
        flipped = self._moved if several else self._flipped
        targets[where] = flipped(targets[where], classes, rng)
        return own.changed(targets=targets)

    def _could_change(self, targets: Array) -> Array:
        if self.mode == "one-to-one":
            found = targets == self.source if targets.ndim == 1 else targets[:, self.source] > 0
            return np.asarray(found)
        if targets.ndim == 1 or self.mode == "invert":
            return np.ones(len(targets), bool)
        return np.asarray(targets.any(axis=1) & ~targets.all(axis=1))

    def _flipped(self, labels: Array, classes: int, rng: np.random.Generator) -> Array:
        if self.mode == "one-to-one":
            return np.full_like(labels, self.target)
        return np.asarray((labels + self._steps(len(labels), classes, rng)) % classes)

    def _moved(self, findings: Array, classes: int, rng: np.random.Generator) -> Array:
        if self.mode == "invert":
            return np.asarray(1 - findings)
        if self.mode == "one-to-one":
            findings[:, self.source], findings[:, self.target] = 0, 1
            return findings
        steps = self._steps(len(findings), classes, rng)
        return np.take_along_axis(findings, (np.arange(classes) - steps[:, None]) % classes, axis=1)

    def _steps(self, n: int, classes: int, rng: np.random.Generator) -> Array:
        return rng.integers(1, classes, size=n) if self.mode == "random" else np.ones(n, np.int64)

    def _check(self, classes: int, several: bool) -> None:
        if classes < 2:
            raise ConfigError("flipping needs two classes", place="attack", got=classes)
        if self.mode == "invert" and not several:
            raise ConfigError(
                "only findings can be inverted: these samples have one class each",
                place="attack.mode",
                got=self.mode,
                fix="use all-to-all, one-to-one or random",
            )
        if self.mode == "one-to-one":
            check_pair(self.source, self.target, classes)
