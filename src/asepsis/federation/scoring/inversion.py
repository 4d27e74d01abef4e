"""Reconstructed inputs beside the batches that were really trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from asepsis.core.rng import Draw
from asepsis.core.samples import Array, Shard
from asepsis.core.threat import Evidence
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.metrics.leakage import match
from asepsis.metrics.reconstruction import (
    Values,
    averaged,
    beside_priors,
    each,
    inside,
    reidentified,
)
from asepsis.training.batches import batches


def score(evidence: Evidence, truth: Truth) -> Leak:
    """Set reconstructions beside the true samples that they match best.

    The truth is every sample that the hospital trained on in this round, over all its local
    steps; when the channel does not tell whose update it was, those of every present hospital:
    the attack gets the benefit of the doubt. Figures are means over the pairs, see
    :mod:`asepsis.metrics.reconstruction`: how close they are, the rank of the true sample among
    those used and the public ones (``candidates`` in all), and what exceeds priors that need no
    gradient. Of paired images the same for the second image (``target/...``), and inside the mask
    of the body (``inside/...``). ``used`` and ``guessed`` count samples.
    """
    owners = truth.present if evidence.about is None else (evidence.about,)
    used = _joined([_used(truth, client) for client in owners])
    guess = _array(evidence.guesses["inputs"])
    real, public = _array(used.inputs), truth.public
    mine, matched = match(guess, real)
    known = None if public is None else _array(public.inputs)
    scores = compared(guess[mine], real, matched, known)
    scores |= labels_right(evidence.guesses, mine, used.targets[matched])
    pictures = {"truth": used.inputs[matched].cpu(), "guess": torch.from_numpy(guess[mine])}
    if used.targets.dim() == 4:
        body = _array(used.targets[:, 1])[matched] > 0.5
        scores |= _named("inside", averaged(inside(guess[mine], real[matched], body)))
        if "targets" in evidence.guesses:
            second = _array(evidence.guesses["targets"])[mine]
            images = _array(used.targets[:, :1])
            held = None if public is None else _array(public.targets[:, :1])
            scores |= _named("target", compared(second, images, matched, held))
            scores |= _named("target/inside", averaged(inside(second, images[matched], body)))
            pictures["truth_target"] = torch.from_numpy(images[matched])
            pictures["guess_target"] = torch.from_numpy(second)
    counts = {"used": float(len(real)), "guessed": float(len(guess))}
    return Leak({**scores, **counts}, pictures)


def compared(guess: Array, real: Array, matched: Array, known: Array | None) -> dict[str, float]:
    """Return figures of guesses ``[k, ...]`` that belong to ``real[matched]``.

    ``known`` are public samples: candidates beside the true ones, and what priors are made of.
    """
    truths = real[matched]
    known = known if known is not None and len(known) else None
    rest = np.delete(real, matched, axis=0)
    others = rest if known is None else np.concatenate([rest, known])
    found: Values = {**each(guess, truths), **reidentified(guess, truths, others)}
    if known is not None:
        found |= beside_priors(guess, truths, known)
    return {**averaged(found), "candidates": float(len(truths) + len(others))}


def labels_right(guesses: dict[str, Tensor], mine: Array, targets: Tensor) -> dict[str, float]:
    """Return how often guessed labels are those of the samples, where each has one class."""
    if "labels" not in guesses or targets.dim() != 1:
        return {}
    said = guesses["labels"].cpu()[torch.from_numpy(mine)].argmax(dim=1)
    return {"label_accuracy": float((said == targets.cpu()).float().mean())}


def _used(truth: Truth, client: int) -> Shard:
    """Return every sample that a hospital's local steps of this round drew, each once."""
    plan, federation = truth.federation.plan, truth.federation
    shard = plan.shards[client, "clean"]
    work = federation.cohort(truth.round).work.get(client, 1.0)
    steps = plan.trainer.recipe(len(shard), work).steps
    rng = federation.streams.at(Draw.BATCH, truth.round, client)
    places = torch.arange(len(shard))
    drawn = [where for where, _ in batches(Shard(places, places), plan.trainer.batch, steps, rng)]
    once = torch.unique(torch.cat(drawn)).to(shard.inputs.device)
    return Shard(shard.inputs[once], shard.targets[once])


def _joined(shards: list[Shard]) -> Shard:
    inputs = torch.cat([shard.inputs for shard in shards])
    return Shard(inputs, torch.cat([shard.targets for shard in shards]))


def _named(prefix: str, scores: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in scores.items()}


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().float().cpu().contiguous().numpy())
