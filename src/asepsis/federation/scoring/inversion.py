"""Reconstructed inputs beside the batches that were really trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from asepsis.core.rng import Draw
from asepsis.core.samples import Array, Kind, Shard
from asepsis.core.threat import Evidence
from asepsis.federation.scoring.hospitals import subjects, unknown, used_by
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.metrics.leakage import match
from asepsis.metrics.reconstruction import (
    Pairs,
    Values,
    averaged,
    beside_priors,
    distances,
    each,
    inside,
    reidentified,
)

PIXELS = frozenset({Kind.IMAGE, Kind.VOLUME, Kind.MULTILABEL_IMAGE, Kind.PAIRED_IMAGE})
"""Kinds whose prepared inputs lie in [-1, 1]."""


def score(evidence: Evidence, truth: Truth) -> Leak:
    """Set reconstructions beside the true samples that they match best.

    The truth is every sample that the hospital trained on in this round, over all its local
    steps; when the channel does not tell whose update it was, those of every hospital that may be
    behind it: the attack gets the benefit of the doubt. Figures are means over the pairs, see
    :mod:`asepsis.metrics.reconstruction`: how close they are (pixels cut to [-1, 1], where they
    lie), the rank of the true sample among
    public ones (``candidates`` in all) beside chance, and what exceeds priors that need no
    gradient. Of paired images the same for the second image (``target/...``), and inside the mask
    of the body (``inside/...``). ``used`` and ``guessed`` count samples. Hospitals are left out
    (``unknown_truth``, a share) where an attack replaced their training, or the trainer does not
    say which samples it draws.
    """
    owners = subjects(evidence, truth)
    known = [part for part in (_used(truth, client) for client in owners) if part is not None]
    left_out = unknown(len(owners), len(known))
    guess = as_pixels(_array(evidence.guesses["inputs"]), truth.federation.learner.kind)
    count = float(sum(len(part) for part in known))
    scores = {"used": count, "guessed": float(len(guess)), **left_out} if known else left_out
    if not (count and len(guess)):
        return Leak(scores)
    found, pictures = _beside(guess, evidence.guesses, _joined(known), truth)
    return Leak({**found, **scores}, pictures)


def _beside(
    guess: Array, guesses: dict[str, Tensor], used: Shard, truth: Truth
) -> tuple[dict[str, float], dict[str, Tensor]]:
    rng = truth.federation.streams.at(Draw.BOOTSTRAP, truth.round, 3)
    real, public = _array(used.inputs), truth.public
    pairs = mine, matched = match(guess, real)
    known = None if public is None else _array(public.inputs)
    scores = compared(guess, real, pairs, known, known, rng)
    scores |= labels_right(guesses, mine, used.targets[matched])
    pictures = {"truth": used.inputs[matched].cpu(), "guess": torch.from_numpy(guess[mine])}
    if used.targets.dim() == 4:
        body = _array(used.targets[:, 1])[matched] > 0.5
        scores |= _named("inside", averaged(inside(guess[mine], real[matched], body)))
        if "targets" in guesses:
            second = as_pixels(_array(guesses["targets"]), Kind.PAIRED_IMAGE)
            images = _array(used.targets[:, :1])
            held = None if public is None else _array(public.targets[:, :1])
            costs = None if known is None else distances(guess, np.concatenate([real, known]))
            theirs = compared(second, images, pairs, held, held, rng, costs)
            scores |= _named("target", theirs)
            outline = inside(second[mine], images[matched], body)
            scores |= _named("target/inside", averaged(outline))
            pictures["truth_target"] = torch.from_numpy(images[matched])
            pictures["guess_target"] = torch.from_numpy(second[mine])
    return scores, pictures


def compared(
    guess: Array,
    real: Array,
    pairs: Pairs,
    known: Array | None,
    others: Array | None,
    rng: np.random.Generator,
    costs: Array | None = None,
) -> dict[str, float]:
    """Return figures of guesses ``[b, ...]`` beside the inputs used ``[m, ...]``, as paired.

    ``known`` are what priors are made of; ``others`` are candidates that nobody trained on. The
    pairs minimize ``costs`` ``[b, m + len(others)]``: the distances, when not given.
    """
    mine, matched = pairs
    found: Values = each(guess[mine], real[matched])
    if known is not None and len(known):
        found |= beside_priors(guess[mine], real[matched], known, real)
    scores = averaged(found)
    if others is None or not len(others):
        return scores
    gaps = distances(guess, np.concatenate([real, others]))
    return scores | reidentified(gaps, len(real), pairs, rng, costs)


def as_pixels(guess: Array, kind: Kind) -> Array:
    """Cut guessed pixels to [-1, 1], as anybody would; what is no number remains none.

    Example:
        >>> as_pixels(np.array([-3.0, 0.5, np.inf]), Kind.IMAGE).tolist()
        [-1.0, 0.5, nan]
    """
    if kind not in PIXELS:
        return guess
    return np.where(np.isfinite(guess), np.clip(guess, -1, 1), np.nan).astype(guess.dtype)


def labels_right(guesses: dict[str, Tensor], mine: Array, targets: Tensor) -> dict[str, float]:
    """Return how often guessed labels are those of the samples, where each has one class."""
    if "labels" not in guesses or targets.dim() != 1:
        return {}
    said = guesses["labels"].cpu()[torch.from_numpy(mine)].argmax(dim=1)
    return {"label_accuracy": float((said == targets.cpu()).float().mean())}


def _used(truth: Truth, client: int) -> Shard | None:
    """Return every sample that a hospital's local steps of this round drew, each once."""
    used = used_by(truth, client)
    if used is None:
        return None
    shard, places = used
    once = torch.unique(places)
    return Shard(shard.inputs[once], shard.targets[once])


def _joined(shards: list[Shard]) -> Shard:
    inputs = torch.cat([shard.inputs for shard in shards])
    return Shard(inputs, torch.cat([shard.targets for shard in shards]))


def _named(prefix: str, scores: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in scores.items()}


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().float().cpu().contiguous().numpy())
