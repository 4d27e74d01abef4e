"""Which mixture of classes explains an update: read off the output layer, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from asepsis.attacks.observe.seen import Head, Update
from asepsis.core.samples import Array, Kind, Shard
from asepsis.core.threat import Learner, ServerView
from asepsis.metrics.inference import indicator

CHUNK = 16
"""So many samples' own gradients ``[CHUNK, d]`` are held at once."""
FIRM = 100.0
"""How much more a sum of shares away from 1 counts than anything else."""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What one sample of each class does to the output layer, on average: ``[classes, classes]``.

    ``absent`` is what a sample without the finding does, where samples may have several.
    """

    present: Array
    absent: Array | None

    def shares(self, seen: Array) -> Array:
        """Return the shares of classes ``[classes]`` that explain a signal ``[classes]`` best."""
        return _mixture(self.present, seen) if self.absent is None else self._findings(seen)

    def _findings(self, seen: Array) -> Array:
        assert self.absent is not None
        one, none = np.diagonal(self.present), np.diagonal(self.absent)
        width = np.where(np.abs(one - none) > 1e-12, one - none, np.inf)
        return np.asarray(np.clip((seen - none) / width, 0.0, 1.0))


def _mixture(present: Array, seen: Array) -> Array:
    """Solve ``min ||sum_c s_c present_c - seen||`` with ``s >= 0`` and ``sum s = 1``."""
    firm = FIRM * max(1e-12, float(np.abs(present).max()))
    matrix = np.vstack([present.T, np.full((1, len(present)), firm)])
    shares, _ = nnls(matrix, np.append(seen, firm))
    return np.asarray(shares / max(float(shares.sum()), 1e-12))


def several(kind: Kind) -> bool:
    """Whether a sample may have several findings."""
    return kind is Kind.MULTILABEL_IMAGE


def explained(view: ServerView, update: Update, head: Head, known: Shard) -> Array:
    """Return the shares of classes ``[classes]`` that explain one update best.

    ``signal(-delta / scale) = sum_c share_c E_c``, with ``E_c`` the mean signal of the samples of
    class c in ``known``: at the model sent, and where an update has several steps as much at the
    model it arrived at.
    """
    points = [view.sent]
    if view.recipe(update.samples).steps > 1:
        points.append(view.sent + update.delta)
    found = [signals(view.learner, point, head, known) for point in points]
    absent = [one.absent for one in found if one.absent is not None]
    mean = Signals(
        np.mean([one.present for one in found], axis=0),
        np.mean(absent, axis=0) if absent else None,
    )
    return mean.shares(observed(view, update, head))


def observed(view: ServerView, update: Update, head: Head) -> Array:
    """Return the signal of the mean gradient behind an update ``[classes]``."""
    gradient = -update.delta[None] / view.scale(update.samples)
    return np.asarray(head.signal(gradient)[0].double().cpu().numpy())


def signals(learner: Learner, row: Tensor, head: Head, known: Shard) -> Signals:
    """Measure what samples of each class do to the output layer at ``row``.

    A class without samples borrows everybody's inputs and calls them its own.
    """
    truth = indicator(known.targets.cpu().numpy(), head.classes) > 0.5
    real = _signals(learner, row, head, known)
    many = several(learner.kind)
    present = np.stack(
        [
            real[truth[:, c]].mean(axis=0)
            if truth[:, c].any()
            else _signals(learner, row, head, _called(known, c, many, True)).mean(axis=0)
            for c in range(head.classes)
        ]
    )
    return Signals(present, _absent(learner, row, head, known, truth, real) if many else None)


def _absent(
    learner: Learner, row: Tensor, head: Head, known: Shard, truth: Array, real: Array
) -> Array:
    return np.stack(
        [
            real[~truth[:, c]].mean(axis=0)
            if not truth[:, c].all()
            else _signals(learner, row, head, _called(known, c, True, False)).mean(axis=0)
            for c in range(head.classes)
        ]
    )


def _called(known: Shard, label: int, many: bool, present: bool) -> Shard:
    """Return the same inputs, all of them called ``label`` (or not)."""
    targets = known.targets.clone()
    if many:
        targets[:, label] = float(present)
    else:
        targets[:] = label
    return Shard(known.inputs, targets)


def _signals(learner: Learner, row: Tensor, head: Head, shard: Shard) -> Array:
    parts = [
        head.signal(learner.gradients(row, inputs, targets))
        for inputs, targets in zip(
            torch.split(shard.inputs, CHUNK), torch.split(shard.targets, CHUNK), strict=True
        )
    ]
    return np.asarray(torch.cat(parts).double().cpu().numpy())


def known_samples(view: ServerView, most: int, rng: np.random.Generator) -> Shard:
    """Return up to ``most`` public samples, classes as equal as they allow; noise without any.

    Noise is standard normal, its labels every class in turn.
    """
    if view.public is None or not len(view.public):
        return _noise(view, most, rng)
    order = torch.from_numpy(rng.permutation(len(view.public)))
    shuffled = Shard(view.public.inputs[order], view.public.targets[order])
    truth = indicator(shuffled.targets.cpu().numpy(), view.learner.classes)
    # The k-th of its rarest class comes before the k+1-th of any: a balanced beginning.
    turn = np.where(truth > 0, np.cumsum(truth, axis=0), np.inf).min(axis=1)
    turn = np.where(np.isinf(turn), np.cumsum(np.isinf(turn)), turn)
    first = torch.from_numpy(np.argsort(turn, kind="stable")[:most])
    return Shard(shuffled.inputs[first], shuffled.targets[first])


def _noise(view: ServerView, most: int, rng: np.random.Generator) -> Shard:
    learner = view.learner
    shape = (min(most, CHUNK * learner.classes), *learner.input_shape)
    inputs = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(view.sent)
    label = torch.arange(len(inputs), device=inputs.device) % learner.classes
    if several(learner.kind):
        return Shard(inputs, torch.nn.functional.one_hot(label, learner.classes).to(inputs))
    return Shard(inputs, label)
