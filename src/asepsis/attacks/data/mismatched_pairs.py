"""Mismatched pairs: the target images of one patient stand beside the inputs of another."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from asepsis.attacks.data.choice import drawn
from asepsis.core.registry import register
from asepsis.core.samples import Array, DataFacts, Kind, Samples


@register("attack", "mismatched-pairs")
class MismatchedPairs:
    """Mismatched pairs: a hostile hospital trains on one patient's input with another's target.

    Of the patients a ``share`` is drawn without replacement (at least one where ``share`` > 0,
    and then at least two), put in random order around a circle, and each gets the target images
    of the next, in the order in which they lie in the data set, repeated where the next has fewer:
    slice meets slice where patients have equally many. Every target is a real one, so that no look
    at single images finds anything wrong. Inputs, masks, ids and groups stay as they are. A
    hospital of one patient keeps its pairs.

    Source: the usual mislabeling of regression data, for images; no paper

    Fidelity: own

    Tasks: paired-image

    Example:
        >>> images = np.zeros((3, 1, 1), np.uint8)
        >>> targets = np.array([10, 20, 30], np.uint8).reshape(3, 1, 1)
        >>> own = Samples(images, targets, np.arange(3), np.arange(3))
        >>> facts = DataFacts(Kind.PAIRED_IMAGE, ())
        >>> MismatchedPairs().poison(own, facts, np.random.default_rng(0)).targets.ravel()
        array([30, 10, 20], dtype=uint8)
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.PAIRED_IMAGE})

    share: Annotated[float, Field(ge=0, le=1)] = 1.0

    def poison(self, own: Samples, facts: DataFacts, rng: np.random.Generator) -> Samples:
        """Return the samples with other patients' targets."""
        patients = np.unique(own.groups)
        chosen = drawn(patients, self.share, rng)
        if len(chosen) == 1 and len(patients) > 1:
            other = rng.choice(patients[patients != chosen[0]])
            chosen = np.array([chosen[0], other])
        circle = rng.permutation(chosen)
        targets = own.targets.copy()
        for patient, following in zip(circle, np.roll(circle, -1), strict=True):
            mine, theirs = _slices(own, patient), _slices(own, following)
            targets[mine] = own.targets[np.resize(theirs, len(mine))]
        return own.changed(targets=targets)


def _slices(own: Samples, patient: int) -> Array:
    """Return where a patient's samples are, in the order of the data set."""
    mine = np.flatnonzero(own.groups == patient)
    return mine[np.argsort(own.ids[mine], kind="stable")]
