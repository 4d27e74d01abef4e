"""Model inconsistency: everybody but one hospital gets a model that cannot learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.attacks.observe.silence import check_silence, silent_model
from asepsis.attacks.observe.sums import remembered, sums_of, weight_of
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import BroadcastView, Evidence, ServerView, Setting
from asepsis.core.updates import State

MEMORY = 1000
"""Rounds whose weights are remembered: a few numbers each."""


@register("attack", "model-inconsistency")
class ModelInconsistency:
    """Send one hospital the model, and all others one whose gradients vanish.

    Others get a row of zeros in which every hidden unit is dead (the biases before a ReLU or
    sigmoid are far below zero) or stays zero: with no signal and no way back, local training
    leaves all columns but the last biases as they are. The sum on those columns is then
    ``w_v x_v`` of the target v alone, whatever hides the single rows; an ideal secure sum helps as
    little as a protocol, unless hospitals compare what they received. Which columns stay is found
    by training the silent model by the protocol on public samples (on noise without any), once.

    ``w_v`` is what the weights of earlier rounds' changing cohorts tell, else ``samples`` where the
    server knows the count, else the mean hospital's ``W / n``: the row's length is then a guess,
    its direction is not. ``client`` is the target, the lowest id of the cohort when not set; with
    ``fresh`` it gets a newly initialized model, whose gradients say more. The model stands still in
    tampered rounds: say when.

    Returns evidence ``isolation``: ``row`` ``[d]`` about the target, NaN on the columns that others
    changed too; measurements ``known`` (share of columns), ``weight`` and ``weight_known`` (0, 1).
    None where the target did not take part, or everybody was sent the same. Raises ConfigError
    where a network cannot be silenced: it has a single layer, say.

    Source: Pasquini, Francati and Ateniese, Eluding Secure Aggregation in Federated Learning via
    Model Inconsistency (CCS 2022, arXiv 2111.07380): gradient suppression; how a network is
    silenced is ours

    Fidelity: abstract

    Example:
        >>> ModelInconsistency(client=2).fresh
        False
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    client: Annotated[int, Field(ge=0)] | None = None
    samples: Annotated[int, Field(ge=1)] | None = None
    fresh: bool = False

    def check(self, setting: Setting) -> None:
        """Refuse networks that cannot be silenced."""
        check_silence(setting.learner, setting.row)

    def tamper(
        self, state: State, view: BroadcastView, rng: np.random.Generator
    ) -> tuple[State, Mapping[int, Tensor]]:
        """Silence everybody but the target."""
        target = self._target(view.cohort)
        if target is None:
            return state, {}
        if "silent" not in state:
            silent, stays = silent_model(view.learner, view.sent, view.public, rng)
            state = {**state, "silent": silent, "stays": stays}
        told = {client: state["silent"].clone() for client in view.cohort if client != target}
        if self.fresh:
            told[target] = view.learner.fresh(rng).to(view.sent)
        return state, told

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Read the target's update off the sum."""
        sums = sums_of(view)
        state = remembered(state, view.facts.round, sums, MEMORY, totals=False)
        target = self._target(view.cohort)
        mine = [one for one in sums if target in one.members]
        if target is None or not mine or not view.told:
            return state, None
        known = weight_of(state, target)
        if known is None and self.samples is not None:
            known = float(self.samples)
        weight = mine[0].weight / len(mine[0].members) if known is None else known
        row = (mine[0].total / weight).to(view.sent)
        if len(mine[0].members) > 1:
            row = torch.where(state["stays"].to(row.device), row, torch.nan)
        figures = {
            "known": float(row.isfinite().double().mean()),
            "weight": weight,
            "weight_known": float(known is not None),
        }
        return state, Evidence("isolation", {"row": row}, target, measurements=figures)

    def _target(self, cohort: tuple[int, ...]) -> int | None:
        if self.client is None:
            return min(cohort, default=None)
        return self.client if self.client in cohort else None
