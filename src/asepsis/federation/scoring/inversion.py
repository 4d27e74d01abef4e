"""Reconstructed inputs beside the batches that were really trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from asepsis.core.rng import Draw
from asepsis.core.threat import Evidence
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.metrics.leakage import match, reconstruction_metrics
from asepsis.training.batches import batches

DATA_RANGE = 2.0
"""Prepared pixels lie in [-1, 1]."""


def score(evidence: Evidence, truth: Truth) -> Leak:
    """Set reconstructed inputs beside the true ones that they match best.

    When the channel does not tell whose update it was, every present hospital's batch counts
    and the best match is scored: the attack gets the benefit of the doubt.
    """
    owners = truth.present if evidence.about is None else (evidence.about,)
    real = torch.cat([_first_batch(truth, client) for client in owners]).cpu()
    guess = evidence.guesses["inputs"].cpu()
    scores = reconstruction_metrics(guess.numpy(), real.numpy(), DATA_RANGE)
    if real.dim() < 4:  # tables and signals are standardized: they have no range
        scores = {"mse": scores["mse"]}
    mine, matched = match(guess.numpy(), real.numpy())
    return Leak(scores, {"truth": real[matched], "guess": guess[mine]})


def _first_batch(truth: Truth, client: int) -> Tensor:
    plan = truth.federation.plan
    rng = truth.federation.streams.at(Draw.BATCH, truth.round, client)
    shard = plan.shards[client, "clean"]
    return next(iter(batches(shard, plan.trainer.batch, 1, rng)))[0]
