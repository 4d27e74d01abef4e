"""Representatives of classes beside the class's mean, its members, and public samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from asepsis.core.rng import Draw
from asepsis.core.samples import Array, Kind, Shard
from asepsis.core.threads import one_thread
from asepsis.core.threat import Evidence
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.metrics.inference import indicator
from asepsis.metrics.leakage import RADIUS, mse, psnr, ssim
from asepsis.metrics.reconstruction import CAP_DB

DATA_RANGE = 2.0
"""Prepared pixels lie in [-1, 1]."""
PASSES = 20
"""The judge trains so many times on the public samples."""
PIXELS = frozenset({Kind.IMAGE, Kind.VOLUME, Kind.MULTILABEL_IMAGE})


def score(evidence: Evidence, truth: Truth) -> Leak:
    """Compare one representative a class with the mean and the nearest of its training samples.

    ``mse_mean``, ``psnr_mean``, ``ssim_mean`` to the mean of the class over all hospitals,
    ``..._member`` to its nearest training sample, averaged over classes (tables and signals: mean
    squared error only). ``prior_...`` are the same for the mean of the public samples of the
    class: leakage is what exceeds it. ``recognized`` is the share of classes that a judge, trained
    on public samples alone from new weights, takes for what they are meant to be, and
    ``judge_accuracy`` how often it is right about candidates, which it has not seen.
    """
    guess = evidence.guesses["inputs"].detach().cpu()
    prior = _class_means([truth.public], truth) if truth.public is not None else {}
    homes = [truth.federation.plan.shards[i.id, "clean"] for i in truth.federation.hospitals]
    means = _class_means(homes, truth)
    if not means:
        return Leak({})
    near = {c: _nearest(guess[c], _members(homes, c, truth)) for c in means}
    scores = _compared("", {c: guess[c] for c in means}, means, near, truth)
    if set(prior) >= set(means):
        nearby = {c: _nearest(prior[c], _members(homes, c, truth)) for c in means}
        scores |= _compared("prior_", prior, means, nearby, truth)
    pictures = {
        "truth": torch.stack([means[c] for c in means]),
        "guess": torch.stack([guess[c] for c in means]),
        "nearest": torch.stack([near[c] for c in means]),
    }
    return Leak(scores | _recognized(guess, list(means), prior, truth), pictures)


def _compared(
    prefix: str,
    guesses: dict[int, Tensor],
    means: dict[int, Tensor],
    members: dict[int, Tensor],
    truth: Truth,
) -> dict[str, float]:
    scores = {}
    for suffix, others in (("mean", means), ("member", members)):
        pairs = [(guesses[c].numpy(), others[c].numpy()) for c in means]
        for name, values in _figures(pairs, truth.federation.learner.kind).items():
            scores[f"{prefix}{name}_{suffix}"] = float(np.mean(values))
    return scores


def _figures(pairs: list[tuple[Array, Array]], kind: Kind) -> dict[str, list[float]]:
    found = {"mse": [mse(a, b) for a, b in pairs]}
    if kind in PIXELS:
        found["psnr"] = [min(psnr(a, b, DATA_RANGE), CAP_DB) for a, b in pairs]
        if min(pairs[0][0].shape[-2:]) > 2 * RADIUS:
            found["ssim"] = [ssim(a, b, DATA_RANGE) for a, b in pairs]
    return found


def _members(shards: list[Shard], label: int, truth: Truth) -> Iterator[Tensor]:
    for shard in shards:
        has = indicator(shard.targets.cpu().numpy(), truth.federation.learner.classes)[:, label]
        if has.any():
            yield shard.inputs.cpu()[torch.from_numpy(has > 0.5)]


def _class_means(shards: list[Shard], truth: Truth) -> dict[int, Tensor]:
    """Return the mean sample of every class that occurs."""
    means = {}
    for label in range(truth.federation.learner.classes):
        parts = list(_members(shards, label, truth))
        if parts:
            total = torch.stack([part.double().sum(dim=0) for part in parts]).sum(dim=0)
            means[label] = (total / sum(len(part) for part in parts)).float()
    return means


def _nearest(one: Tensor, parts: Iterator[Tensor]) -> Tensor:
    best, found = float("inf"), one
    for part in parts:
        distance = (part - one).flatten(1).square().mean(dim=1)
        where = int(distance.argmin())
        if float(distance[where]) < best:
            best, found = float(distance[where]), part[where]
    return found


def _recognized(
    guess: Tensor, labels: list[int], prior: dict[int, Tensor], truth: Truth
) -> dict[str, float]:
    """Ask the judge what it takes the representatives for."""
    if truth.public is None or not len(truth.public):
        return {}
    judge = _judge(truth.public, truth)
    scores = {"recognized": _taken_for(judge, guess[labels], labels, truth)}
    if set(prior) >= set(labels):
        usual = torch.stack([prior[c] for c in labels])
        scores["prior_recognized"] = _taken_for(judge, usual, labels, truth)
    if truth.candidates is not None and truth.candidates.shard.targets.dim() == 1:
        asked = truth.candidates.shard
        answers = truth.federation.learner.probabilities(judge, asked.inputs).argmax(dim=1)
        scores["judge_accuracy"] = float((answers == asked.targets).double().mean())
    return scores


def _judge(public: Shard, truth: Truth) -> Tensor:
    rng = truth.federation.streams.at(Draw.BOOTSTRAP, truth.round, 2)
    learner = truth.federation.learner
    row = learner.fresh(rng).to(truth.row)
    with one_thread():
        for _ in range(PASSES):
            row = learner.fit(row, public, rng)
    return row


def _taken_for(judge: Tensor, inputs: Tensor, labels: list[int], truth: Truth) -> float:
    learner = truth.federation.learner
    answers = learner.probabilities(judge, inputs.to(truth.row)).cpu()
    if learner.kind is Kind.MULTILABEL_IMAGE:  # the finding is there when it is likelier than not
        right = answers[torch.arange(len(labels)), torch.tensor(labels)] > 0.5
    else:
        right = answers.argmax(dim=1) == torch.tensor(labels)
    return float(right.double().mean())
