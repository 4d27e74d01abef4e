"""What a gradient inversion minimizes: how badly dummies explain an update."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asepsis.attacks.observe.inversion.labels import infer_labels, output_bias
from asepsis.attacks.observe.inversion.matching import Distance, total_variation
from asepsis.attacks.observe.inversion.statistics import Statistics
from asepsis.attacks.observe.inversion.steps import simulate, turns
from asepsis.attacks.observe.inversion.targets import Target
from asepsis.core.samples import Kind
from asepsis.core.threat import Learner


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """An update, and how explanations of it are judged.

    ``simulated``: the protocol's local steps are taken from the dummies, and updates are compared;
    otherwise one gradient of one batch of dummies is compared with the average gradient.
    """

    learner: Learner
    target: Target
    distance: Distance
    simulated: bool = False
    smooth: float = 0.0
    match_statistics: float = 0.0
    statistics: Statistics | None = None

    @property
    def count(self) -> int:
        """How many samples the update is explained by."""
        if not self.simulated:
            return self.target.batch
        return max(int(turn.stop) for turn in turns(self.target.samples, self.target.recipe))

    @property
    def wanted(self) -> Tensor:
        """What an explanation should come to, ``[parameters]``."""
        return self.target.change if self.simulated else self.target.gradient

    def explained(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return what these samples would have led to, ``[parameters]``."""
        sent, size = self.target.sent, self.target.parameters
        if not self.simulated:
            return self.learner.gradient(sent, inputs, targets)[:size]
        cut = turns(self.target.samples, self.target.recipe)
        steps = [(inputs[turn], targets[turn]) for turn in cut]
        return simulate(self.learner, sent, steps, self.target.recipe)

    def losses(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is minimized, and the gradient loss alone."""
        gap = self.distance(self.explained(inputs, targets), self.wanted)
        whole = gap
        if self.smooth:
            whole = whole + self.smooth * total_variation(inputs)
            if self.learner.kind is Kind.PAIRED_IMAGE:
                whole = whole + self.smooth * total_variation(targets)
        if self.statistics is not None and self.match_statistics:
            whole = whole + self.match_statistics * self.statistics.distance(inputs)
        return whole, gap


@dataclass(frozen=True, slots=True, eq=False)
class Dummies:
    """Dummy inputs ``[b, ...]`` and what their targets are read from: logits, or the target."""

    inputs: Tensor
    free: Tensor
    kind: Kind
    known: bool = False

    @classmethod
    def drawn(cls, problem: Problem, rng: np.random.Generator, *, infer: bool = False) -> Dummies:
        """Draw inputs and targets from N(0, 1); ``infer`` reads labels off the update instead."""
        learner, sent = problem.learner, problem.target.sent
        inputs = _normal(rng, (problem.count, *learner.input_shape)).to(sent)
        free = _normal(rng, (problem.count, *learner.target_shape)).to(sent)
        if infer:
            bias = problem.target.gradient[output_bias(learner.layout, learner.classes)]
            free = infer_labels(bias, learner.classes, problem.count)
        return cls(inputs.requires_grad_(), free.requires_grad_(not infer), learner.kind, infer)

    @property
    def variables(self) -> list[Tensor]:
        """What may be optimized."""
        return [self.inputs] if self.known else [self.inputs, self.free]

    @property
    def targets(self) -> Tensor:
        """The targets as training has them, soft ones."""
        if self.known or self.kind is Kind.PAIRED_IMAGE:
            return self.free
        if self.kind is Kind.MULTILABEL_IMAGE:
            return torch.sigmoid(self.free)
        return torch.softmax(self.free, dim=1)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
