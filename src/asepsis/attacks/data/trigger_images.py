"""Triggered images: what a hostile hospital shows its generator, for all to generate."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from asepsis.attacks.backdoor.badnets import fitted_trigger, replaced, trigger_of
from asepsis.attacks.data.choice import check_class, drawn
from asepsis.core.contracts import Carried, Trigger
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Array, DataFacts, Kind, Samples

Class = Annotated[int, Field(ge=0)]


@register("attack", "trigger-images")
class TriggerImages:
    """Stamp a trigger on a hospital's training images, so that a federated GAN generates it.

    ``share`` of the hospital's images (of those of class ``only``, if named) are drawn without
    replacement and stamped; they replace the originals. Labels stay, or become ``label``
    (label-conditional poisoning: whoever asks a conditional generator for that class gets the
    trigger). The hospital then trains as the protocol says. There is no target class: nobody
    answers to images here, and what counts is how many generated ones carry the trigger, and what
    they are worth. A hospital without an image of class ``only`` keeps its images; where that is
    so at every hostile hospital, the federation is refused.

    ``trigger`` is a component (a name or a table with options). One whose values come from samples
    is fitted once, by :meth:`fitted`, and is then the same everywhere.

    Raises ConfigError for a class that does not exist, a ``label`` that the images of class
    ``only`` have already, on data of one class or with an unconditional generator, and a trigger
    that cannot stamp images.

    Source: Jin and Li, Backdoor Attack is a Devil in Federated GAN-based Medical Image Synthesis,
    arXiv 2207.00762 (every image of one hospital); labels after the abstract of its journal
    version, arXiv 2210.10886; share and class are ours

    Fidelity: code

    Tasks: image

    Example:
        >>> own = Samples(np.zeros((2, 3, 3), np.uint8), np.array([0, 1]), *2 * [np.arange(2)])
        >>> facts = DataFacts(Kind.IMAGE, ("well", "ill"))
        >>> attack = TriggerImages(trigger={"name": "patch", "size": 1, "margin": 0}, only=1)
        >>> attack.poison(own, facts, np.random.default_rng(0)).inputs[:, 2, 2]
        array([  0, 255], dtype=uint8)
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE})
    generates: ClassVar[bool] = True
    classifies: ClassVar[bool] = False

    trigger: str | dict[str, Any] = "patch"
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    only: Class | None = None
    label: Class | None = None

    def fitted(self, own: Samples, facts: DataFacts) -> TriggerImages:
        """Return the attack with its trigger fitted to these samples."""
        self._check(len(facts.classes))
        if isinstance(trigger_of(self.trigger), Carried):
            raise ConfigError(
                "images carry this trigger by nature: stamping changes nothing",
                place="attack.trigger",
                got=self.trigger,
                fix="choose patch, emblem, blended, sinusoidal or wanet",
            )
        return replace(self, trigger=fitted_trigger(self.trigger, own, facts.kind))

    @property
    def stamp(self) -> Trigger:
        """The trigger."""
        return trigger_of(self.trigger)

    @property
    def relabels(self) -> bool:
        """Whether labels change, which only a conditional generator ever sees."""
        return self.label is not None

    def poison(self, own: Samples, facts: DataFacts, rng: np.random.Generator) -> Samples:
        """Return the samples with some stamped; an attack that is not fitted fits itself."""
        trigger = self.fitted(own, facts).stamp
        where = drawn(self._eligible(own.targets), self.share, rng)
        chosen = own.take(where)
        labels = None if self.label is None else np.full_like(chosen.targets, self.label)
        return replaced(own, where, chosen.changed(trigger.stamp(chosen.inputs, rng), labels))

    def _eligible(self, targets: Array) -> Array:
        if self.only is None:
            return np.arange(len(targets))
        return np.flatnonzero(targets == self.only)

    def _check(self, classes: int) -> None:
        for name, label in (("only", self.only), ("label", self.label)):
            if label is not None:
                check_class(label, classes, f"attack.{name}")
        if self.label is not None and (classes < 2 or self.label == self.only):
            raise ConfigError(
                "these images have this label already",
                place="attack.label",
                got=self.label,
                fix="leave it out, or name another class",
            )
