"""Property inference: a curious server reads a hospital's share of a diagnosis off its update."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.attacks.observe.mixing import explained, known_samples, several
from asepsis.attacks.observe.seen import (
    LABELED,
    Head,
    Update,
    check_head,
    each_hospital,
    head_of,
    updates_of,
)
from asepsis.attacks.observe.shadows import Ridge, shadow_updates
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind, Shard
from asepsis.core.threat import Evidence, ServerView, Setting
from asepsis.core.updates import State
from asepsis.metrics.inference import indicator

CALIBRATION = 128


@register("attack", "property-inference")
class PropertyInference:
    """Infer each hospital's share of every diagnosis from the update it sent.

    ``shadows`` hospitals are simulated: each draws its samples from the public ones with shares
    of its own (odds of class c times ``exp(a_c)``, ``a_c ~ N(0, spread²)``) and trains from the
    model that was sent, by the protocol, as many samples as the hospital in question claims. A
    ridge regression from the output layer's update (weights and bias, standardized; strength by
    leaving one out) to the shares is then asked about the real update. Hospitals with as many
    local steps share their shadows; those take the median size.

    Returns evidence ``property``: ``shares`` ``[m, classes]`` of the hospitals ``clients`` (all,
    or ``client``), ``closed_form`` ``[m, classes]``, the shares that explain the output layer's
    mean gradient (see ``label-leakage``), as a cross-check, and ``prior`` ``[classes]``, those of
    the public samples. A secure sum gives one row, of all hospitals together, and no client; of
    grouped sums all in a group have the group's. None without public samples and without a
    finite update. It costs ``shadows`` local trainings a round and group. What hospitals do to an
    update before it leaves (clipping, noise) is not simulated. Raises ConfigError, before any
    round, where the network does not end in a linear layer with one output a class, and where
    updates tell no gradient.

    Source: Ateniese et al., Hacking Smart Machines with Smarter Ones, IJSN 2015 (meta-classifier
    on shadow models); Ganju et al., Property Inference Attacks on Fully Connected Neural Networks,
    CCS 2018; in federated learning: Melis et al., Exploiting Unintended Feature Leakage in
    Collaborative Learning, IEEE S&P 2019; a regression of shares: our own form

    Fidelity: own

    Tasks: image, volume, multilabel-image, table, sequence

    Example:
        >>> PropertyInference(shadows=16).spread
        1.5
    """

    kinds: ClassVar[frozenset[Kind]] = LABELED

    client: Annotated[int, Field(ge=0)] | None = None
    shadows: Annotated[int, Field(ge=4, le=10_000)] = 48
    spread: Annotated[float, Field(gt=0, le=10)] = 1.5

    def check(self, setting: Setting) -> None:
        """Refuse networks without a layer that tells classes, and updates that are no gradient."""
        check_head(setting)

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Infer the shares behind every update of a round."""
        head = head_of(view.learner.layout, view.learner.classes)
        seen = updates_of(view.delivery, view.batch, self.client)
        if head is None or not seen or view.public is None or not len(view.public):
            return state, None
        known = known_samples(view, CALIBRATION, rng)
        shares = self._regressed(view, view.public, head, seen, rng)
        direct = np.stack([explained(view, one, head, known) for one in seen])
        prior = indicator(view.public.targets.cpu().numpy(), view.learner.classes).mean(axis=0)
        clients, rows = each_hospital(seen, shares)
        return state, Evidence(
            kind="property",
            guesses={
                "shares": rows,
                "closed_form": each_hospital(seen, direct)[1],
                "prior": torch.from_numpy(prior),
            },
            about=seen[0].client if len(seen) == 1 else None,
            clients=clients,
            measurements={"shadows": float(self.shadows)},
        )

    def _regressed(
        self,
        view: ServerView,
        public: Shard,
        head: Head,
        seen: list[Update],
        rng: np.random.Generator,
    ) -> Array:
        made = np.zeros((len(seen), view.learner.classes))
        steps = [view.recipe(one.samples).steps for one in seen]
        for _, group in groupby(sorted(range(len(seen)), key=steps.__getitem__), steps.__getitem__):
            where = list(group)
            size = int(np.median([seen[i].samples for i in where]))
            rows, shares = shadow_updates(
                view.learner, view.sent, public, [size] * self.shadows, self.spread, rng
            )
            ridge = Ridge.fit(_features(head, rows), shares)
            asked = torch.stack([seen[i].delta for i in where])
            made[where] = ridge.predict(_features(head, asked))
        return _plausible(made, one_each=not several(view.learner.kind))


def _features(head: Head, rows: Tensor) -> Array:
    return np.asarray(head.all(rows).double().cpu().numpy())


def _plausible(shares: Array, one_each: bool) -> Array:
    """Bring shares into [0, 1]; where samples have one class each, they sum to 1."""
    inside = np.clip(shares, 0.0, 1.0)
    if not one_each:
        return inside
    total = inside.sum(axis=1, keepdims=True)
    return np.where(total > 0, inside / np.where(total > 0, total, 1), 1 / shares.shape[1])
