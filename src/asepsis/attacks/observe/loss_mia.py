"""Membership by the loss: a model knows what it was trained on."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from asepsis.attacks.observe.readings import (
    Reads,
    confidences,
    finite,
    membership,
    readings,
)
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ServerView, When
from asepsis.core.updates import State


@register("attack", "loss-mia")
class LossMia:
    """Membership inference by the loss of one round's models.

    The score of candidate and client is ``-loss(w_k; x, y)`` of the local model
    ``w_k = sent + row_k``, in evaluation mode; of a secure sum that of the average, one score a
    candidate. With ``model = "global"`` it is that of the model that was sent, for all alike. With
    ``reads = "messages"`` masked vectors are taken for updates, scaled to the average one's length.

    Which rounds are looked at is fixed beforehand, never chosen by the truth: 0, 10, 20, ... unless
    ``when`` says others. Each stands on its own, and the last is what a record keeps.

    Returns evidence ``scores`` ``[n, clients]``, or ``[n]`` of a sum and of the global model. None
    without candidates.

    Source: Yeom et al., Privacy Risk in Machine Learning, CSF 2018, section 3.2 (threshold on the
    loss)

    Fidelity: own

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> LossMia(model="global").usual.every
        10
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)
    usual: ClassVar[When] = When(every=10)

    model: Literal["local", "global"] = "local"
    reads: Reads = "delivery"

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Measure one round."""
        candidates = view.candidates
        if candidates is None:
            return state, None
        if self.model == "global":
            losses = view.learner.losses(view.sent, candidates.inputs, candidates.targets)
            return state, membership(finite(-losses.double())[:, None], ())
        found = readings(view, self.reads)
        if found is None:
            return state, None
        return state, membership(*found.shared(confidences(view, found, candidates)))
