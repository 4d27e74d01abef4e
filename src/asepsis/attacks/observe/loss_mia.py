"""Membership by the loss: a model knows what it was trained on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from asepsis.attacks.observe.readings import (
    Reads,
    confidences,
    finite,
    membership,
    readings,
)
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ServerView
from asepsis.core.updates import State


@register("attack", "loss-mia")
class LossMia:
    """Membership inference by the loss of one round's models.

    The score of candidate and client is ``-loss(w_k; x, y)`` of the local model
    ``w_k = sent + row_k``, in evaluation mode; of a secure sum that of the average, one score a
    candidate. With ``model = "global"`` it is that of the model that was sent, for all alike. With
    ``reads = "messages"`` masked vectors are taken for updates, scaled to the average one's length.

    The round is fixed beforehand, never chosen by the truth: ``round``, or without it each
    ``every``-th on its own, of which the last is what a record keeps.

    Returns evidence ``scores`` ``[n, clients]``, or ``[n]`` of a sum and of the global model. None
    in other rounds and without candidates.

    Source: Yeom et al., Privacy Risk in Machine Learning, CSF 2018, section 3.2 (threshold on the
    loss)

    Fidelity: own

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> LossMia(round=9).model
        'local'
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    model: Literal["local", "global"] = "local"
    round: Annotated[int, Field(ge=0)] | None = None
    every: Annotated[int, Field(ge=1, le=100_000)] = 10
    reads: Reads = "delivery"

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Measure one round."""
        candidates = view.candidates
        if candidates is None or not audited(view.facts.round, self.round, self.every):
            return state, None
        if self.model == "global":
            losses = view.learner.losses(view.sent, candidates.inputs, candidates.targets)
            return state, membership(finite(-losses.double())[:, None], ())
        found = readings(view, self.reads)
        if found is None:
            return state, None
        return state, membership(confidences(view, found, candidates), found.clients)


def audited(now: int, fixed: int | None, every: int) -> bool:
    """Whether a round is looked at.

    Example:
        >>> [t for t in range(6) if audited(t, None, 2)], [t for t in range(6) if audited(t, 5, 2)]
        ([0, 2, 4], [5])
    """
    return now % every == 0 if fixed is None else now == fixed
