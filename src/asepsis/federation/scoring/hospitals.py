"""What hospitals truly have, as scorers compare it: labels, shares, whom a claim is about."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from asepsis.core.rng import Draw
from asepsis.core.samples import Array
from asepsis.core.threat import Evidence
from asepsis.federation.scoring.truth import Truth
from asepsis.metrics.inference import indicator
from asepsis.metrics.intervals import bootstrap_interval
from asepsis.training.batches import batches

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


def findings_at(truth: Truth, client: int) -> Array:
    """Return the classes or findings of a hospital's training samples ``[n, classes]``."""
    targets = truth.federation.plan.shards[client, "clean"].targets
    return indicator(targets.cpu().numpy(), truth.federation.learner.classes)


def labels_trained_on(truth: Truth, client: int) -> tuple[Array, int]:
    """Count the labels that one hospital's local steps of this round used ``[classes]``.

    A sample counts as often as it was used; the number of samples counted so comes with them.
    Stragglers take fewer steps.
    """
    federation = truth.federation
    shard, trainer = federation.plan.shards[client, "clean"], federation.plan.trainer
    work = federation.cohort(truth.round).work.get(client, 1.0)
    rng = federation.streams.at(Draw.BATCH, truth.round, client)
    steps = trainer.recipe(len(shard), work).steps
    used = [targets.cpu().numpy() for _, targets in batches(shard, trainer.batch, steps, rng)]
    found = indicator(np.concatenate(used), federation.learner.classes)
    return found.sum(axis=0).astype(np.int64), len(found)


def with_bounds(
    name: str, metric: Callable[[Array], float], groups: Array, truth: Truth
) -> dict[str, float]:
    """Return a figure with its 95 % bootstrap interval over ``groups``: patients, or hospitals."""
    rng = truth.federation.streams.at(Draw.BOOTSTRAP, truth.round)
    found = bootstrap_interval(metric, groups, rng, draws=DRAWS)
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
