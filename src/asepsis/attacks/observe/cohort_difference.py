"""Cohort difference: what changes in the sum when one hospital stays away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from asepsis.attacks.observe.sums import combination, remembered, sums_of
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import BroadcastView, Evidence, ServerView
from asepsis.core.updates import State


@register("attack", "cohort-difference")
class CohortDifference:
    """Solve for one hospital's update from sums over changing cohorts.

    Every sum is an equation ``S_t = sum_{i in cohort t} w_i x_i`` ``[d]``, and so is its weight
    W_t. The last ``window`` rounds' cohorts are the rows of a 0/1 matrix A; where ``A^T c = e_v``
    has a solution for a hospital v of the present cohort, the smallest c gives
    ``x_v = sum_t c_t S_t / sum_t c_t W_t``. Two cohorts that differ in v alone are the simplest
    case; more rounds average noise out. ``client`` is v, or else the hospital with the smallest c.

    Exact when nobody's update changes from round to round. It does, with the model and the draw of
    batches, and the error is the other hospitals' changes: large in a large federation and early in
    training. With ``replay``, a malicious server sends everybody the first model again in each of
    its rounds: all hear the same, so that binding the broadcast into masks does not help; but the
    model stands still.

    Returns evidence ``isolation``: ``row`` ``[d]`` about v; measurements ``rounds`` remembered,
    ``weight`` found and ``amplification``, the norm of c. None while no hospital can be told
    apart, as when the cohort never changes. Group sums count as a round's several equations.

    Source: So et al., Securing Secure Aggregation: Mitigating Multi-Round Privacy Leakage in
    Federated Learning (AAAI 2023, arXiv 2106.03328): the leak; replaying is ours

    Fidelity: abstract

    Example:
        >>> CohortDifference(replay=True).window
        8
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    client: Annotated[int, Field(ge=0)] | None = None
    window: Annotated[int, Field(ge=1, le=1000)] = 8
    replay: bool = False

    @property
    def tampers(self) -> bool:
        """Whether it changes what the server sends."""
        return self.replay

    def tamper(
        self, state: State, view: BroadcastView, rng: np.random.Generator
    ) -> tuple[State, Mapping[int, Tensor]]:
        """Send the first model again, where that was asked for."""
        if not self.replay:
            return state, {}
        first = state.get("first")
        if first is None:
            return {**state, "first": view.sent.clone()}, {}
        return state, {client: first.clone() for client in view.cohort}

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Remember a round's sums, and solve."""
        sums = sums_of(view)
        state = remembered(state, view.facts.round, sums, self.window, totals=True)
        present = sorted({client for one in sums for client in one.members})
        asked = present if self.client is None else [i for i in present if i == self.client]
        found = [(client, combination(state["members"], client)) for client in asked]
        solved = [(float(c.norm()), client, c) for client, c in found if c is not None]
        if not solved:
            return state, None
        amplification, client, factors = min(solved, key=lambda one: one[:2])
        weight = float(factors @ state["weight"])
        if not weight > 0:
            return state, None
        row = (factors @ state["total"].double() / weight).to(view.sent)
        figures = {
            "rounds": float(len(set(state["round"].tolist()))),
            "weight": weight,
            "amplification": amplification,
        }
        return state, Evidence("isolation", {"row": row}, client, measurements=figures)
