"""What anyone who knows the architecture and the protocol can compute, as functions of a row."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from asepsis.core.layout import Layout
from asepsis.core.rng import building_modules
from asepsis.core.samples import Kind, Shard
from asepsis.core.threads import one_thread

if TYPE_CHECKING:
    from asepsis.core.contracts import ModelBuilder, Task, Trainer

BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Learner:
    """The learner that attacks are handed: :class:`asepsis.core.threat.Learner`.

    ``module`` is the learner's own, in training mode; no function changes its parameters.
    """

    module: nn.Module
    layout: Layout
    task: Task
    trainer: Trainer
    builder: ModelBuilder
    kind: Kind
    input_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    classes: int

    @property
    def parameters(self) -> int:
        """Of a row's columns so many are parameters, the rest buffers."""
        return self.layout.parameters

    def copy(self, row: Tensor) -> nn.Module:
        """Return a private copy of the network in evaluation mode, loaded with the row."""
        made = copy.deepcopy(self.module).eval()
        self.layout.load(made, row)
        return made

    def fresh(self, rng: np.random.Generator) -> Tensor:
        """Return a newly initialized row of the same architecture."""
        with building_modules(int(rng.integers(2**62))):
            made = self.builder.build(self.input_shape, self.classes)
        return self.layout.flatten(made)

    def gradient(self, row: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient ``[d]`` of the mean training loss, in training mode.

        Batch normalization uses the statistics of the batch, as at hospitals. The columns of
        buffers have no gradient and are 0. Differentiable in ``row``, ``inputs``, ``targets``.
        """
        tensors, weights = self._leaves(row)
        outputs = torch.func.functional_call(self.module, tensors, (inputs,))
        found = torch.autograd.grad(
            self.task.loss(outputs, targets).mean(),
            weights,
            create_graph=any(part.requires_grad for part in (row, inputs, targets)),
            materialize_grads=True,
        )
        buffers = row.new_zeros(self.layout.dim - self.layout.parameters)
        return torch.cat([*(part.reshape(-1) for part in found), buffers])

    def gradients(self, row: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return each sample's own gradient ``[n, d]``, in evaluation mode."""
        module = self.copy(row)
        named = dict(module.named_parameters())
        weights = [named[slot.name] for slot in self.layout.slots if slot.parameter]
        made = row.new_zeros(len(inputs), self.layout.dim)
        for i in range(len(inputs)):
            losses = self.task.loss(module(inputs[i : i + 1]), targets[i : i + 1])
            found = torch.autograd.grad(losses.sum(), weights, materialize_grads=True)
            made[i, : self.layout.parameters] = torch.cat([part.reshape(-1) for part in found])
        return made

    def losses(self, row: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return each sample's loss ``[n]``, in evaluation mode."""
        return self.task.loss(self._outputs(row, inputs), targets)

    def probabilities(self, row: Tensor, inputs: Tensor) -> Tensor:
        """Return what the model answers: ``[n, classes]``, or images."""
        return self.task.probabilities(self._outputs(row, inputs))

    def fit(self, row: Tensor, shard: Shard, rng: np.random.Generator, work: float = 1.0) -> Tensor:
        """Train by the protocol, as a hospital with these samples would; return the new row."""
        module = copy.deepcopy(self.module)
        with one_thread():
            delta, _ = self.trainer.train(module, self.layout, row, shard, self.task, rng, work)
        return row + delta

    @torch.no_grad()
    def _outputs(self, row: Tensor, inputs: Tensor) -> Tensor:
        module = self.copy(row)
        return torch.cat([module(block) for block in torch.split(inputs, BATCH)])

    def _leaves(self, row: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return a row's tensors by name, and those of them that are parameters.

        Parameters stay part of the graph that the row comes from; buffers, which training writes
        to, never do.
        """
        start = row if row.requires_grad else row.detach().clone().requires_grad_()
        tensors, weights = {}, []
        for slot in self.layout.slots:
            part = start[slot.where].view(slot.shape)
            tensors[slot.name] = part if slot.parameter else part.detach().clone()
            weights += [part] if slot.parameter else []
        return tensors, weights
