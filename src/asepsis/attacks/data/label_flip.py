"""Label flipping: the images stay, the diagnoses lie."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from asepsis.attacks.data.choice import check_class, drawn
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
    groups stay as they are.

    Raises ConfigError for a source or target that is no class, or when they are the same.

    Source: Tolpegin et al., Data Poisoning Attacks Against Federated Learning Systems, ESORICS
    2020, section 3 (one-to-one)

    Fidelity: own

    Tasks: image, volume, table, sequence

    Example:
        >>> from asepsis.core.samples import DataFacts, Kind, Samples
        >>> own = Samples(np.zeros((3, 2)), np.array([0, 1, 2]), np.arange(3), np.arange(3))
        >>> facts = DataFacts(Kind.TABLE, ("a", "b", "c"))
        >>> LabelFlip().poison(own, facts, np.random.default_rng(0)).targets
        array([1, 2, 0])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(
        {Kind.IMAGE, Kind.VOLUME, Kind.TABLE, Kind.SEQUENCE}
    )

    mode: Literal["all-to-all", "one-to-one", "random"] = "all-to-all"
    source: Class = 0
    target: Class = 1
    share: Annotated[float, Field(ge=0, le=1)] = 1.0

    def poison(self, own: Samples, facts: DataFacts, rng: np.random.Generator) -> Samples:
        """Return the samples with flipped labels."""
        self._check(len(facts.classes))
        one_class = self.mode == "one-to-one"
        eligible = np.flatnonzero(own.targets == self.source) if one_class else np.arange(len(own))
        where = drawn(eligible, self.share, rng)
        targets = own.targets.copy()
        targets[where] = self._flipped(targets[where], len(facts.classes), rng)
        return own.changed(targets=targets)

    def _flipped(self, labels: Array, classes: int, rng: np.random.Generator) -> Array:
        if self.mode == "one-to-one":
            return np.full_like(labels, self.target)
        steps = rng.integers(1, classes, size=len(labels)) if self.mode == "random" else 1
        return np.asarray((labels + steps) % classes)

    def _check(self, classes: int) -> None:
        if classes < 2:
            raise ConfigError("flipping needs two classes", place="attack", got=classes)
        if self.mode != "one-to-one":
            return
        for name, label in (("source", self.source), ("target", self.target)):
            check_class(label, classes, f"attack.{name}")
        if self.source == self.target:
            raise ConfigError(
                "source and target are the same class",
                place="attack.target",
                got=self.target,
                fix="name another class",
            )
