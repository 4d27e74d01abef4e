"""Which samples make up which local step: drawn once per round and client, before training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from asepsis.core.samples import Shard


def cuts(samples: int, batch_size: int) -> list[slice]:
    """Cut a pass over the data into batches.

    A last batch of one sample joins the one before: BatchNorm cannot train on a single sample.

    Example:
        >>> [(cut.start, cut.stop) for cut in cuts(9, 4)]
        [(0, 4), (4, 9)]
    """
    starts = list(range(0, samples, batch_size))
    if len(starts) > 1 and samples - starts[-1] == 1:
        starts.pop()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], samples], strict=True)]


def step_count(samples: int, batch_size: int, epochs: int, steps: int | None) -> int:
    """Return how many local steps a hospital takes.

    Example:
        >>> step_count(100, 32, 2, None), step_count(100, 32, 2, 5)
        (8, 5)
    """
    return steps if steps is not None else epochs * len(cuts(samples, batch_size))


def batches(
    shard: Shard, batch_size: int, steps: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``steps`` batches, reshuffling at every pass over the data.

    One gather a pass, then views: the hot loop copies nothing.
    """
    left = steps
    while left > 0:
        order = torch.from_numpy(rng.permutation(len(shard))).to(shard.inputs.device)
        inputs, targets = shard.inputs[order], shard.targets[order]
        for cut in cuts(len(shard), batch_size)[:left]:
            yield inputs[cut], targets[cut]
            left -= 1
