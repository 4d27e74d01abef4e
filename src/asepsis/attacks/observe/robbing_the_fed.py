"""Robbing the Fed: a malicious server plants a layer that writes samples into the update."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.attacks.observe.inversion.imprint import Imprint, block, measured
from asepsis.attacks.observe.inversion.targets import chosen
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import BroadcastView, Evidence, ServerView, Setting
from asepsis.core.updates import State


@register("attack", "robbing-the-fed")
class RobbingTheFed:
    """A malicious server plants an imprint in the first layer and reads samples off the update.

    All neurons of the first linear layer measure the same ``h(x)``: the mean of the sample, or
    with ``measure = "random"`` a random direction (tables, signals). Their biases ``-c_i`` are
    quantiles of a normal distribution fitted to public samples (or N(0, ``spread``²) of h when
    there are none), so that neuron i is open where ``h(x) > c_i``; all feed the next layer alike.
    Then ``(dW_i - dW_{i+1}) / (db_i - db_{i+1})`` is the sample that measures between c_i and
    c_{i+1}, exactly, if it is alone there; what does not measure inside its own bin is dropped.
    That holds for a batch, and for the sum of all hospitals' updates behind a secure sum.

    Rows planted: weights ``scale h``, next layer ``push`` throughout. One local step is exact,
    under weight decay too; with more the bins move while they are read. Gradients clipped or
    noised are not undone.

    Needs the model ``imprinted``, or one that begins with linear, ReLU, linear (``mlp``). The
    round's aggregate is thrown away.

    Returns evidence ``inputs`` ``[k, *input_shape]``; measurements ``found`` (k), ``bins``,
    ``local_steps``. None where there is no update or no bin held a sample. Raises ConfigError when
    the model has no place for an imprint.

    Source: Fowl et al., Robbing the Fed: Directly Obtaining Private Data in Federated Learning
    with Modified Models, ICLR 2022, sections 4.1 to 4.3

    Fidelity: paper

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> RobbingTheFed(measure="random").push
        0.001
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    client: Annotated[int, Field(ge=0)] | None = None
    measure: Literal["mean", "random"] = "mean"
    scale: Annotated[float, Field(gt=0, le=1e6)] = 0.01
    push: Annotated[float, Field(gt=0, le=1e6)] = 1e-3
    spread: Annotated[float, Field(gt=0)] = 1.0

    def check(self, setting: Setting) -> None:
        """Refuse networks without a place for an imprint, and updates that are no gradient."""
        setting.scale(1)
        block(setting.learner, setting.row)

    def tamper(
        self, state: State, view: BroadcastView, rng: np.random.Generator
    ) -> tuple[State, Mapping[int, Tensor]]:
        """Plant the imprint and send it to everybody."""
        where = block(view.learner, view.sent)
        size = prod(view.learner.input_shape)
        public = None if view.public is None else view.public.inputs
        direction = self._direction(size, rng)
        made = measured(where.bins, public, direction, self.spread)
        row = made.planted(view.sent, where, self.scale, self.push)
        mind = {"direction": made.direction, "edges": made.edges}
        return mind, {client: row.clone() for client in view.cohort}

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Read samples off what came back."""
        target = chosen(view, self.client)
        if target is None or "edges" not in state or not view.told:
            return state, None
        where = block(view.learner, view.sent)
        decay = target.recipe.weight_decay * target.sent.double()
        change = -target.delta.double() / target.scale - decay
        weight = change[where.weight.where].view(where.weight.shape)
        found = Imprint(state["direction"], state["edges"]).read(weight, change[where.bias.where])
        if not len(found) or not bool(found.isfinite().all()):
            return state, None
        return state, Evidence(
            kind="inversion",
            guesses={"inputs": found.float().reshape(-1, *view.learner.input_shape)},
            about=target.about,
            clients=target.clients,
            measurements={
                "found": float(len(found)),
                "bins": float(where.bins),
                "local_steps": float(target.recipe.steps),
            },
        )

    def _direction(self, size: int, rng: np.random.Generator) -> Tensor:
        if self.measure == "mean":
            return torch.full((size,), 1 / size, dtype=torch.float64)
        return torch.from_numpy(rng.standard_normal(size) / size**0.5)
