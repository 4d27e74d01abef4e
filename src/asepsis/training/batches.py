"""Which samples make up which local step: drawn once per round and client, before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, takewhile

import numpy as np
import torch
from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.samples import Shard


def cuts(samples: int, batch_size: int) -> list[slice]:
    """Cut a pass over the data into batches.

    A last batch of one sample joins the one before: BatchNorm cannot train on a single sample.

    Raises:
        ConfigError: there are no samples.

    Example:
        >>> [(cut.start, cut.stop) for cut in cuts(9, 4)]
        [(0, 4), (4, 9)]
    """
    if samples < 1:
        raise ConfigError(
            "nobody can train on no samples",
            place="hospitals",
            got="a hospital without training samples",
            fix="deal the samples so that every hospital has some, or leave the hospital out",
        )
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


def passes(
    samples: int, batch_size: int, steps: int, rng: np.random.Generator
) -> Iterator[list[Tensor]]:
    """Yield which samples make up each of ``steps`` batches, a reshuffled pass at a time."""
    left = steps
    while left > 0:
        order = torch.from_numpy(rng.permutation(samples))
        yield [order[cut] for cut in cuts(samples, batch_size)[:left]]
        left -= len(cuts(samples, batch_size))


def places(samples: int, batch_size: int, steps: int, rng: np.random.Generator) -> list[Tensor]:
    """Return which samples make up each of ``steps`` batches.

    Example:
        >>> [len(where) for where in places(5, 2, 3, np.random.default_rng(0))]
        [2, 3, 2]
    """
    return list(chain.from_iterable(passes(samples, batch_size, steps, rng)))


def taken(shard: Shard, drawn: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches that were drawn.

    One gather a pass, then views: the hot loop copies nothing.
    """
    start = 0
    while start < len(drawn):
        ends = accumulate(len(where) for where in drawn[start:])
        stop = start + max(1, sum(1 for _ in takewhile(len(shard).__ge__, ends)))
        order = torch.cat(list(drawn[start:stop])).to(shard.inputs.device)
        sizes = [len(where) for where in drawn[start:stop]]
        inputs, targets = shard.inputs[order], shard.targets[order]
        yield from zip(torch.split(inputs, sizes), torch.split(targets, sizes), strict=True)
        start = stop


def batches(
    shard: Shard, batch_size: int, steps: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``steps`` batches, reshuffling at every pass over the data."""
    for drawn in passes(len(shard), batch_size, steps, rng):
        yield from taken(shard, drawn)
