"""Signals: ECG beats, wearables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from asepsis.core.registry import register
from asepsis.core.samples import Array, DataFacts, Kind, Prepare, Samples, Shard
from asepsis.tasks.single_label import SingleLabel, moments, shard, standardized


@register("task", "sequence")
class SequenceTask(SingleLabel):
    """One class per signal: an ECG beat, a wearable's window, hours in intensive care.

    Channels are standardized with the federation's training mean and deviation over time,
    missing values become the mean; ``[n, time, channels]`` becomes ``[n, channels, time]``;
    cross-entropy ``[n]``; metrics as ``classification``.

    Source: the usual preparation of physiological signals; no paper

    Fidelity: own

    Tasks: sequence

    Example:
        >>> SequenceTask().model
        'cnn1d'
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.SEQUENCE})
    model: ClassVar[str] = "cnn1d"

    def fit(self, train: Sequence[Samples], facts: DataFacts) -> Prepare:
        """Learn mean and deviation of every channel."""
        flat = [samples.inputs.reshape(-1, samples.inputs.shape[-1]) for samples in train]
        mean, std = moments(flat)
        return partial(scale_sequence, mean=mean, std=std)


def scale_sequence(samples: Samples, *, mean: Array, std: Array) -> Shard:
    """Standardize ``[n, time, channels]`` and put channels first."""
    scaled = standardized(samples.inputs, mean, std)
    return shard(np.moveaxis(scaled, -1, 1), samples)
