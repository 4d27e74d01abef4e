"""Analytic gradient inversion: a linear layer's gradient holds its inputs, and no search is due."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.attacks.observe.inversion import recursion
from asepsis.attacks.observe.inversion.linear import (
    Reader,
    agreeing_samples,
    only_sample,
    reader,
)
from asepsis.attacks.observe.inversion.targets import Target, chosen
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, Learner, ServerView, Setting
from asepsis.core.updates import State


@register("attack", "analytic")
class Analytic:
    """Gradient inversion in closed form: first linear layer, or layer by layer from the end.

    ``method = "first-layer"``: where the first layer is linear, with bias, and reads the sample,
    neuron i of a batch of one has ``dW_i = db_i x``: least squares over the neurons gives x, exact
    for one local step. In a batch a neuron that one sample alone activates shows that sample;
    only samples that two neurons show alike (relative distance 1e-3) are claimed, up to as many
    as the batch has. Where no two agree, or the updates of several batches are mixed, one
    mixture is returned and ``agreed`` is 0.

    ``method = "recursive"`` (batches of one, chains of convolutions and linear layers with sigmoid,
    tanh or leaky ReLU that end in a linear layer with bias): each layer's input is found from that
    of the next by the equations ``W x = z`` and ``x * dL/dz = dW``, least squares in float64.

    Weight decay is taken out where there was one step. A plain channel gives the row of
    ``client`` (the lowest id when not set), a secure sum the average of all.

    Returns evidence ``inputs`` ``[k, *input_shape]``; measurements ``agreed`` (samples claimed
    with certainty), ``local_steps``. None when there is no update to attack, and for
    ``recursive`` behind a secure sum. Raises ConfigError when the model has no such layer or is no
    such chain.

    Source: Phong et al., Privacy-Preserving Deep Learning via Additively Homomorphic Encryption,
    IEEE TIFS 2018, section 3; batches: Boenisch et al., When the Curious Abandon Honesty, EuroS&P
    2023, section 4; recursive: Zhu and Blaschko, R-GAP, ICLR 2021, section 3

    Fidelity: paper

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> Analytic(client=2).method
        'first-layer'
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    client: Annotated[int, Field(ge=0)] | None = None
    method: Literal["first-layer", "recursive"] = "first-layer"

    def check(self, setting: Setting) -> None:
        """Refuse networks that cannot be solved, and updates that are no gradient."""
        setting.scale(1)
        if self.method == "first-layer":
            _reader(setting.learner, setting.row)
            return
        recursion.layers(setting.learner, setting.row)
        asked = setting.samples if self.client is None else setting.samples[self.client :][:1]
        recipes = [setting.recipe(samples) for samples in asked]
        if asked and not any(
            recursion.solvable(*pair) for pair in zip(asked, recipes, strict=True)
        ):
            raise recursion.mixed()

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Solve for the samples of one round's delivery."""
        target = chosen(view, self.client)
        if target is None:
            return state, None
        if self.method == "recursive":
            if target.about is None:
                return state, None  # a sum is no gradient of one sample
            found, agreed = recursion.solve(view.learner, target)[None], 0
        else:
            found, agreed = self._first_layer(view, target)
        if not (len(found) and bool(found.isfinite().all())):
            return state, None
        shape = view.learner.input_shape
        return state, Evidence(
            kind="inversion",
            guesses={"inputs": found.float().reshape(-1, *shape)},
            about=target.about,
            clients=target.clients,
            measurements={"agreed": float(agreed), "local_steps": float(target.recipe.steps)},
        )

    def _first_layer(self, view: ServerView, target: Target) -> tuple[Tensor, int]:
        layer = _reader(view.learner, target.sent)
        weight, bias = layer.parts(target.gradient)
        alone = target.about is not None and target.batch == 1 and target.recipe.steps == 1
        if alone:
            return only_sample(weight, bias)[None], 1
        most = target.batch * target.recipe.steps
        found = agreeing_samples(weight, bias, most)
        if len(found):
            return found, len(found)
        return torch.stack([only_sample(weight, bias)]), 0


def _reader(learner: Learner, row: Tensor) -> Reader:
    layer = reader(learner, row)
    if layer is None:
        raise ConfigError(
            "the model's first layer is not a linear one with bias that reads the sample",
            place="attack",
            fix="choose the model mlp, logistic or imprinted, or another attack",
        )
    return layer
