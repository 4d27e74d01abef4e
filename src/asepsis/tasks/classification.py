"""Binary and multi-class images and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from asepsis.core.registry import register
from asepsis.core.samples import DataFacts, Kind, Prepare, Samples, Shard
from asepsis.tasks.single_label import SingleLabel, shard


@register("task", "classification")
class Classification(SingleLabel):
    """One diagnosis per image or volume, binary or multi-class.

    Pixels are scaled to [-1, 1] (``x / 127.5 - 1``), channels first, channels-last in memory;
    cross-entropy ``[n]``; accuracy, balanced accuracy, macro-F1, AUROC, calibration error.

    Source: Yang et al., MedMNIST v2, Scientific Data 2023 (protocol of scaling and metrics)

    Fidelity: own

    Tasks: image, volume

    Example:
        >>> Classification().primary
        'balanced_accuracy'
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE, Kind.VOLUME})
    model: ClassVar[str] = "small-cnn"

    def fit(self, train: Sequence[Samples], facts: DataFacts) -> Prepare:
        """Return the preparation; pixels need no statistics."""
        return scale_volume if facts.kind is Kind.VOLUME else scale_image


def scale_image(samples: Samples) -> Shard:
    """Scale uint8 ``[n, h, w(, c)]`` to float32 ``[n, c, h, w]`` in [-1, 1]."""
    pixels = samples.inputs.astype(np.float32) / 127.5 - 1.0
    channels = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)
    made = shard(channels, samples)
    return Shard(made.inputs.contiguous(memory_format=torch.channels_last), made.targets)


def scale_volume(samples: Samples) -> Shard:
    """Scale uint8 ``[n, d, h, w]`` to float32 ``[n, 1, d, h, w]`` in [-1, 1]."""
    voxels = samples.inputs.astype(np.float32) / 127.5 - 1.0
    return shard(voxels[:, None], samples)
