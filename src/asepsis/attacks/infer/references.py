"""Reference models: trained at home on random halves of a pool, to see what membership changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asepsis.core.samples import Array, Kind, Shard
from asepsis.core.threat import Learner, ReleaseView

TINY = 1e-30

Measure = Callable[[Learner, Tensor, Shard], Tensor]
"""A number ``[n]`` for every sample, of a model ``[d]``."""


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """What reference models and the released one say of a pool of ``m`` samples.

    The first ``candidates`` of the pool are those in question, the rest is public.

    Attributes:
        inside: which samples each reference model was trained on, bool ``[models, m]``; every
            sample is in half of them.
        models: the measurement under each reference model, float64 ``[models, m]``.
        released: under the released model ``[m]``.
        candidates: how many of the pool are candidates.
    """

    inside: Array
    models: Tensor
    released: Tensor
    candidates: int


def halves(samples: int, models: int, rng: np.random.Generator) -> Array:
    """Draw which samples each model is trained on: each in exactly half of the models.

    Example:
        >>> halves(3, 4, np.random.default_rng(0)).sum(axis=0).tolist()
        [2, 2, 2]
    """
    slots = np.tile(np.arange(models) < models // 2, (samples, 1))
    return np.asarray(rng.permuted(slots, axis=1).T)


def pooled(candidates: Shard, public: Shard | None, most: int, rng: np.random.Generator) -> Shard:
    """Put up to ``most`` public samples, drawn at random, behind the candidates."""
    if public is None or not len(public) or not most:
        return candidates
    chosen = torch.from_numpy(rng.permutation(len(public))[:most])
    return Shard(
        torch.cat([candidates.inputs, public.inputs[chosen]]),
        torch.cat([candidates.targets, public.targets[chosen]]),
    )


def trained(
    learner: Learner, shard: Shard, hospitals: int, rounds: int, rng: np.random.Generator
) -> Tensor:
    """Train a new model as the federation did: so many hospitals with equal shares, averaged.

    Hospitals that share so little that they overfit are what makes a federation's model what it
    is: a model trained on everything at once is far surer of its members.
    """
    row = learner.fresh(rng).to(shard.inputs.device)
    order = torch.from_numpy(rng.permutation(len(shard)))
    shares = order.tensor_split(min(hospitals, len(shard)))
    for _ in range(rounds):
        rows = [
            learner.fit(row, Shard(shard.inputs[mine], shard.targets[mine]), rng) for mine in shares
        ]
        row = torch.stack(rows).mean(dim=0)
    return row


def logit_confidence(learner: Learner, row: Tensor, samples: Shard) -> Tensor:
    """Return how sure a model is of the truth, float64 ``[n]``, on a scale that looks normal.

    ``log(p_y / (1 - p_y))`` with the probability of the true answer; minus the loss of images.
    """
    known = log_likelihood(learner, row, samples)
    if learner.kind is Kind.PAIRED_IMAGE:
        return known
    if learner.kind is Kind.MULTILABEL_IMAGE:
        return known - (-torch.expm1(known) + TINY).log()
    p = learner.probabilities(row, samples.inputs).double()
    others = p.scatter(1, samples.targets[:, None], 0.0).sum(dim=1)  # 1 - p_y, without rounding
    return known - (others + TINY).log()


def log_likelihood(learner: Learner, row: Tensor, samples: Shard) -> Tensor:
    """Return ``log p(y | x)`` of the true answer, float64 ``[n]``; minus the loss of images.

    Several findings are one answer: their probabilities are multiplied.
    """
    if learner.kind is Kind.PAIRED_IMAGE:
        return -learner.losses(row, samples.inputs, samples.targets).double()
    p = learner.probabilities(row, samples.inputs).double()
    if learner.kind is Kind.MULTILABEL_IMAGE:
        has = samples.targets.to(p) > 0.5
        return (torch.where(has, p, 1 - p) + TINY).log().sum(dim=1)
    return (p.gather(1, samples.targets[:, None])[:, 0] + TINY).log()


def references(
    view: ReleaseView,
    measure: Measure,
    models: int,
    rounds: int | None,
    public: int,
    rng: np.random.Generator,
) -> References | None:
    """Train the reference models and measure the pool under each; ``None`` without candidates.

    Each is a federation of as many hospitals and, unless told otherwise, as many rounds.
    """
    if view.candidates is None:
        return None
    pool = pooled(view.candidates, view.public, public, rng)
    inside = halves(len(pool), models, rng)
    played = view.facts.round + 1 if rounds is None else rounds
    measured = []
    for mask in inside:
        where = torch.from_numpy(np.flatnonzero(mask))
        shard = Shard(pool.inputs[where], pool.targets[where])
        row = trained(view.learner, shard, view.facts.cohort, played, rng)
        measured.append(measure(view.learner, row, pool))
    released = measure(view.learner, view.row, pool)
    return References(inside, torch.stack(measured), released, len(view.candidates))
