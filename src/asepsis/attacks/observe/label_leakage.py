"""Label leakage: a curious server counts the diagnoses behind an update."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from asepsis.attacks.observe.mixing import explained, known_samples, observed, several
from asepsis.attacks.observe.seen import (
    LABELED,
    Head,
    Update,
    check_head,
    each_hospital,
    head_of,
    updates_of,
)
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind, Shard
from asepsis.core.threat import Evidence, ServerView, Setting
from asepsis.core.updates import State
from asepsis.core.workshop import Recipe
from asepsis.metrics.inference import apportioned


@register("attack", "label-leakage")
class LabelLeakage:
    """Count the labels that a hospital trained on, from the gradient of the output layer.

    With cross-entropy the gradient of the output bias is ``mean(p - y)``: a class whose entry is
    negative occurred (iDLG's sign rule, certain for one step), and the entries are a mixture
    ``sum_c share_c E_c`` of what one sample of each class does. ``E`` ``[classes, classes]`` is
    measured on up to ``samples`` public samples at the model that was sent (on noise where there
    are none); shares >= 0 that sum to 1 are found by least squares, and rounded to the number of
    labels that local training used. Findings of which a sample may have several are solved one by
    one. Without an output bias the sums of the output weights take its place.

    One gradient step is solved exactly up to the spread of ``E`` within a class. In an update of
    several steps the mean gradient ``-delta / scale`` is explained, ``E`` being the mean of the
    models sent and arrived at: an approximation.

    Returns evidence ``labels``: ``counts`` ``[m, classes]`` of the hospitals ``clients`` (all, or
    ``client``), labels as often as local training used them. A secure sum gives one row, the mean
    hospital's, and no client; of grouped sums all in a group have their mean hospital's. None when
    no update is finite and other than zero. Raises ConfigError, before any round, where the network
    does not end in a linear layer with one output a class, and where updates tell no gradient.

    Source: Zhao et al., iDLG, arXiv 2001.02610, section 3; Wainakh et al., User-Level Label
    Leakage from Gradients in Federated Learning, PETS 2022

    Fidelity: own

    Tasks: image, volume, multilabel-image, table, sequence

    Example:
        >>> LabelLeakage(client=3).samples
        128
    """

    kinds: ClassVar[frozenset[Kind]] = LABELED

    client: Annotated[int, Field(ge=0)] | None = None
    samples: Annotated[int, Field(ge=1, le=100_000)] = 128

    def check(self, setting: Setting) -> None:
        """Refuse networks without a layer that tells classes, and updates that are no gradient."""
        check_head(setting)

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Count the labels behind every update of a round."""
        head = head_of(view.learner.layout, view.learner.classes)
        seen = [
            one
            for one in updates_of(view.delivery, view.batch, self.client)
            if bool(one.delta.any())
        ]
        if head is None or not seen:
            return state, None
        known = known_samples(view, self.samples, rng)
        counts = np.stack([counted(view, one, head, known) for one in seen])
        clients, rows = each_hospital(seen, counts)
        return state, Evidence(
            kind="labels",
            guesses={"counts": rows},
            about=seen[0].client if len(seen) == 1 else None,
            clients=clients,
        )


def counted(view: ServerView, update: Update, head: Head, known: Shard) -> Array:
    """Return whole counts ``[classes]`` of the labels behind one update."""
    recipe = view.recipe(update.samples)
    total = labels_used(update.samples, recipe)
    shares = explained(view, update, head, known)
    if several(view.learner.kind):
        return np.asarray(np.rint(shares * total).astype(np.int64))
    sure = np.zeros(len(shares), dtype=np.int64)
    if head.bias is not None and recipe.steps == 1 and not recipe.weight_decay:
        sure = (observed(view, update, head) < 0).astype(np.int64)
    if update.hospitals > 1 or sure.sum() > total:
        return apportioned(shares, total)
    return sure + apportioned(np.clip(shares * total - sure, 0, None), total - int(sure.sum()))


def labels_used(samples: int, recipe: Recipe) -> int:
    """Return how many labels local training reads: a sample counts in every pass.

    Example:
        >>> labels_used(100, Recipe(0.1, 0.0, 0.0, batch=32, steps=5))
        132
    """
    whole, rest = divmod(samples, recipe.batch)
    # A last batch of one sample joins the one before.
    cuts = max(1, whole + (rest > 1 or (rest == 1 and whole == 0)))
    passes, left = divmod(recipe.steps, cuts)
    return passes * samples + min(left * recipe.batch, samples)
