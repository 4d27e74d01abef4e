"""Membership by direction: an update points along the gradients of what it was trained on."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from asepsis.attacks.observe.readings import Reads, cosines, membership, readings
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ServerView, When
from asepsis.core.updates import State


@register("attack", "gradient-cosine-mia")
class GradientCosineMia:
    """Membership inference by the cosine of a hospital's update with a candidate's gradient.

    The score of candidate and client is ``cos(w_t - w_k, grad loss(w_t; x, y))`` over the columns
    of parameters, with the gradient at the model that was sent, in evaluation mode; of a secure
    sum that of the average update, one score a candidate. With ``reads = "messages"`` masked
    vectors are taken for updates, scaled to the average one's length.

    Which rounds are looked at is fixed beforehand, never chosen by the truth: 0, 10, 20, ... unless
    ``when`` says others. Each stands on its own, and the last is what a record keeps.

    Returns evidence ``scores`` ``[n, clients]``, or ``[n]`` of a sum. None without candidates.

    Source: Li, Li and Ribeiro, Effective Passive Membership Inference Attacks in Federated
    Learning Against Overparameterized Models, ICLR 2023, section 4 (cosine attack)

    Fidelity: own

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> GradientCosineMia().reads
        'delivery'
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)
    usual: ClassVar[When] = When(every=10)

    reads: Reads = "delivery"

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Measure one round."""
        candidates = view.candidates
        if candidates is None:
            return state, None
        found = readings(view, self.reads)
        if found is None:
            return state, None
        return state, membership(*found.shared(cosines(view, found, candidates)))
