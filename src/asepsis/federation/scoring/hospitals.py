"""What hospitals truly have, as scorers compare it: labels, shares, whom a claim is about."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from asepsis.core.contracts import Draws
from asepsis.core.rng import Draw
from asepsis.core.samples import Array, Shard
from asepsis.core.threat import Evidence
from asepsis.federation.scoring.truth import Truth
from asepsis.metrics.inference import indicator
from asepsis.metrics.intervals import bootstrap_interval

DRAWS = 1000


def subjects(evidence: Evidence, truth: Truth) -> tuple[int, ...]:
    """Return the hospitals that a claim's rows belong to; all present ones behind a sum."""
    if evidence.clients:
        return evidence.clients
    return truth.present if evidence.about is None else (evidence.about,)


def rows_for(guesses: Array, hospitals: tuple[int, ...]) -> Array:
    """Return one row a hospital: a claim about all of them together is made of each."""
    rows = guesses.reshape(-1, guesses.shape[-1])
    return rows if len(rows) == len(hospitals) else np.repeat(rows[:1], len(hospitals), axis=0)


def unknown(asked: int, known: int) -> dict[str, float]:
    """Return ``unknown_truth``, the share of hospitals that are left out; nothing without any."""
    return {} if known == asked > 0 else {"unknown_truth": 1 - known / max(asked, 1)}


def findings_at(truth: Truth, client: int) -> Array:
    """Return the classes or findings of the samples a hospital trains on ``[n, classes]``."""
    job = truth.jobs().get(client)
    targets = truth.federation.plan.shards[client, job.shard if job else "clean"].targets
    return indicator(targets.cpu().numpy(), truth.federation.learner.classes)


def used_by(truth: Truth, client: int) -> tuple[Shard, Tensor] | None:
    """Return what a hospital trained on in this round: its samples, and which ones its steps drew.

    Positions come as often as they were used. ``None`` where nobody knows: an attack replaced the
    training, or the trainer does not say (see :class:`asepsis.core.contracts.Draws`).
    """
    federation, job = truth.federation, truth.jobs().get(client)
    trainer = federation.plan.trainer
    if job is None or not isinstance(trainer, Draws):
        return None
    shard = federation.plan.shards[client, job.shard]
    rng = federation.streams.at(Draw.BATCH, truth.round, client)
    drawn = trainer.drawn(len(shard), job.work, rng)
    return shard, torch.cat([torch.zeros(0, dtype=torch.int64), *drawn]).to(shard.inputs.device)


def labels_trained_on(truth: Truth, client: int) -> tuple[Array, int] | None:
    """Count the labels that one hospital's local steps of this round used ``[classes]``.

    A sample counts as often as it was used; the number of samples counted so comes with them.
    ``None`` where nobody knows.
    """
    used = used_by(truth, client)
    if used is None:
        return None
    shard, places = used
    found = indicator(shard.targets[places].cpu().numpy(), truth.federation.learner.classes)
    return found.sum(axis=0).astype(np.int64), len(found)


def with_bounds(
    name: str, metric: Callable[[Array], float], groups: Array, truth: Truth
) -> dict[str, float]:
    """Return a figure with its 95 % bootstrap interval over ``groups``: patients, or hospitals."""
    rng = truth.federation.streams.at(Draw.BOOTSTRAP, truth.round)
    found = bootstrap_interval(metric, groups, rng, draws=DRAWS)
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
