"""Test samples with what is true of them, and how a task marks answers to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from asepsis.core.contracts import PerSample, Prior, Task, Whole
from asepsis.core.desk import blocks
from asepsis.core.samples import Array, Prepare, Samples
from asepsis.federation.federation import Federation

PLANES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """Prepared test samples: ``inputs`` on their device, ``targets``, ``ids`` and ``patients``."""

    inputs: Tensor
    targets: Array
    ids: Array
    patients: Array

    @classmethod
    def of(cls, samples: Samples, prepare: Prepare) -> Exam:
        """Prepare samples."""
        shard = prepare(samples)
        return cls(shard.inputs, shard.targets.cpu().numpy(), samples.ids, samples.groups)

    def marks(self, task: Task, answers: Array, volume: int | None) -> dict[str, float]:
        """Return the task's metrics, and those of whole volumes where samples are slices."""
        scores = task.metrics(answers, self.targets)
        if volume is not None and isinstance(task, Whole):
            scores |= task.whole(answers, self.targets, self.ids, volume)
        return scores

    def figure(self, task: Task, answers: Array) -> Callable[[Array], float]:
        """Return the primary metric as a function of which samples are drawn."""
        name = task.primary
        if not isinstance(task, PerSample):
            return lambda drawn: task.metrics(answers[drawn], self.targets[drawn])[name]
        values = task.per_sample(answers, self.targets)[name]

        def mean(drawn: Array) -> float:
            known = values[drawn][~np.isnan(values[drawn])]
            return float(known.mean()) if known.size else float("nan")

        return mean


@torch.inference_mode()
def predict(task: Task, module: nn.Module, inputs: Tensor) -> Array:
    """Return a model's answers: probabilities ``[n, classes]``, or images."""
    parts = [task.probabilities(module(block)) for block in blocks(inputs)]
    made: Array = torch.cat(parts).cpu().numpy()
    return made


def answered(probabilities: Array) -> tuple[Array, float]:
    """Replace answers that are no numbers by the uninformative one.

    That is ``1 / k`` for every class, and 0 for every pixel of an image, the middle of its range.
    A model that an attack has blown up knows no more than chance. Returns the share of such
    answers too.
    """
    axes = tuple(range(1, probabilities.ndim))
    finite: Array = np.asarray(np.isfinite(probabilities).all(axis=axes, keepdims=True))
    if finite.all():
        return probabilities, 0.0
    blank = 1 / probabilities.shape[1] if probabilities.ndim == 2 else 0.0
    replaced = np.where(finite, probabilities, np.full_like(probabilities, blank))
    return replaced, float(1 - finite.mean())


def prior_answers(federation: Federation, exam: Exam) -> Array | None:
    """Return what one would answer without looking at the input, if the task can tell.

    From all hospitals' training targets. In whole volumes every slice's place has its own answer.
    """
    task, side = federation.plan.task, federation.facts.volume
    if not isinstance(task, Prior):
        return None
    shards = federation.plan.shards
    train = [
        shards[hospital.id, "clean"].targets.cpu().numpy() for hospital in federation.hospitals
    ]
    ids = np.concatenate([hospital.train.ids for hospital in federation.hospitals])
    places = 1 if side is None else PLANES * side
    return task.prior(np.concatenate(train), ids % places, exam.ids % places)
