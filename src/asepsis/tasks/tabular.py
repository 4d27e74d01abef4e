"""Tables of an electronic health record."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from asepsis.core.registry import register
from asepsis.core.samples import Array, DataFacts, Kind, Prepare, Samples, Shard
from asepsis.tasks.single_label import SingleLabel, moments, shard, standardized


@register("task", "tabular")
class Tabular(SingleLabel):
    """One outcome per row of an electronic health record.

    Features are standardized with the federation's training mean and deviation (from counts and
    sums, as hospitals would share them), missing values become the mean; ``[n, features]``;
    cross-entropy ``[n]``; metrics as ``classification``.

    Source: the usual preparation of tabular records; no paper

    Fidelity: own

    Tasks: table

    Example:
        >>> Tabular().model
        'mlp'
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.TABLE})
    model: ClassVar[str] = "mlp"

    def fit(self, train: Sequence[Samples], facts: DataFacts) -> Prepare:
        """Learn mean and deviation of every feature."""
        mean, std = moments([samples.inputs for samples in train])
        return partial(scale_table, mean=mean, std=std)


def scale_table(samples: Samples, *, mean: Array, std: Array) -> Shard:
    """Standardize ``[n, features]``; missing values become 0."""
    return shard(standardized(samples.inputs, mean, std), samples)
