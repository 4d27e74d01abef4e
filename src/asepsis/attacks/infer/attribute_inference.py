"""Attribute inference: a hidden column of a patient's record, guessed with the model's help."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind, Shard
from asepsis.core.threat import Evidence, ReleaseView, Setting
from asepsis.metrics.imputation import frequencies, imputed, nearest, support_of


@register("attack", "attribute-inference")
class AttributeInference:
    """Guess one column of candidates' records from the rest, the diagnosis, and the model.

    The attacker knows all of a record but the column ``attribute`` (0-based), and the true
    diagnosis y. Every value v that the column takes in public records (groups by quantile where
    they are more than ``values``) is tried in its place, and the guess maximizes

    - ``prior = "marginal"``: ``p_model(y | rest, v) · p(v)``, ``p`` the public frequency;
    - ``prior = "imputed"``: the same with ``p(v | rest)`` of a random forest trained on public
      records without their diagnosis: a guess to which the model adds what it knows of y;
    - ``prior = "flat"``: ``p_model(y | rest, v)``, confidence alone.

    The candidates' own column is overwritten before anything looks at it. A candidate is a
    member (trained on) or not, which the attacker does not know: leakage is how much better it
    fares on members than on others, and than imputation without any model.

    Returns evidence ``attribute``: ``values`` ``[n]`` guessed for the candidates (prepared units),
    ``support`` ``[v]`` the values tried, ``majority`` and ``imputed`` ``[n]``, guesses that never
    see the model: the most frequent value, and a random forest's that knows rest and diagnosis;
    measurement ``attribute``. None without candidates or public records, and when the column has
    one value only.

    Raises ConfigError when there is no such column.

    Source: Fredrikson et al., Privacy in Pharmacogenetics, USENIX Security 2014 (marginal);
    Mehnaz et al., Are Your Sensitive Attributes Private?, USENIX Security 2022 (confidence);
    Jayaraman and Evans, Are Attribute Inference Attacks Just Imputation?, CCS 2022 (imputation)

    Fidelity: own

    Tasks: table

    Example:
        >>> AttributeInference(attribute=1, prior="imputed").values
        8
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.TABLE})

    attribute: Annotated[int, Field(ge=0)] = 0
    values: Annotated[int, Field(ge=2, le=1000)] = 8
    prior: Literal["marginal", "imputed", "flat"] = "marginal"

    def check(self, setting: Setting) -> None:
        """Refuse a column that no record has."""
        self._check(setting.learner.input_shape)

    def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence | None:
        """Guess the column for every candidate."""
        if view.candidates is None or view.public is None or not len(view.candidates):
            return None
        self._check(view.learner.input_shape)
        column = _array(view.public.inputs[:, self.attribute])
        support = support_of(column, self.values)
        if len(support) < 2:
            return None
        known, asked = self._without(view.public), self._without(view.candidates)
        which, seed = nearest(column, support), int(rng.integers(2**31))
        usual = frequencies(which, len(support))
        bare = imputed(_rest(known), which, _rest(asked), len(support), seed)
        informed = imputed(_record(known), which, _record(asked), len(support), seed)
        before = {"marginal": usual[None], "imputed": bare, "flat": np.ones((1, len(support)))}
        likely = self._likelihood(view, asked, support) * before[self.prior]
        guesses = {
            "values": support[likely.argmax(axis=1)],
            "support": support,
            "majority": np.full(len(asked), support[usual.argmax()]),
            "imputed": support[informed.argmax(axis=1)],
        }
        return Evidence(
            kind="attribute",
            guesses={name: torch.from_numpy(guess) for name, guess in guesses.items()},
            measurements={"attribute": float(self.attribute)},
        )

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 1 or self.attribute >= shape[0]:
            raise ConfigError(
                "there is no such column",
                place="attack.attribute",
                got=self.attribute,
                fix=f"a record has {shape[0]} columns, numbered from 0",
            )

    def _without(self, shard: Shard) -> Shard:
        inputs = shard.inputs.clone()
        inputs[:, self.attribute] = 0.0
        return Shard(inputs, shard.targets)

    def _likelihood(self, view: ReleaseView, asked: Shard, support: Array) -> Array:
        """Return how likely the model finds the true diagnosis with each value ``[n, v]``."""
        columns = []
        for value in support:
            inputs = asked.inputs.clone()
            inputs[:, self.attribute] = float(value)
            answers = view.learner.probabilities(view.row, inputs)
            columns.append(answers.gather(1, asked.targets.long()[:, None])[:, 0])
        likely = _array(torch.stack(columns, dim=1))
        return np.where(np.isfinite(likely), likely, 1.0)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().double().cpu().numpy())


def _rest(shard: Shard) -> Array:
    return _array(shard.inputs)


def _record(shard: Shard) -> Array:
    return np.column_stack([_array(shard.inputs), _array(shard.targets)])
