"""All clients of a cohort in one batched computation (vmap): for MLPs and GPUs.

A numerics class of its own: batched sums round differently (about 5e-7 in a step), which chaos
turns into percents after some ten rounds. Never mix it with the others in one table.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from asepsis.core.engine import Job, Plan
from asepsis.core.errors import ConfigError
from asepsis.core.rng import Draw, Streams
from asepsis.core.threads import one_thread
from asepsis.core.updates import Reply
from asepsis.engines.worker import finished
from asepsis.training.sgd import Prox, Sgd


class Batched:
    """Trains the whole cohort at once; needs ``sgd`` or ``prox`` and a model without buffers."""

    name: ClassVar[str] = "batched"
    numerics: ClassVar[str] = "batched"

    def __init__(self) -> None:
        self._plan: Plan | None = None

    def start(self, plan: Plan) -> None:
        """Take the plan.

        Raises:
            ConfigError: the trainer or the model cannot be batched.
        """
        if type(plan.trainer) not in (Sgd, Prox):
            raise ConfigError(
                "only the trainers sgd and prox can be batched", place="engine", got="batched"
            )
        if list(plan.module.buffers()):
            raise ConfigError(
                "a model with buffers (BatchNorm) cannot be batched",
                place="engine",
                got="batched",
                fix="use engine threads or serial",
            )
        self._plan = plan
        self._module = copy.deepcopy(plan.module).train()
        self._streams = Streams(plan.seed)

    def train(self, received: Tensor, jobs: Sequence[Job]) -> list[Reply]:
        """Run the jobs together; replies are sorted by client id."""
        assert self._plan is not None, "start the engine first"
        started = time.perf_counter()
        plan, ordered = self._plan, sorted(jobs, key=lambda job: job.client)
        with one_thread():
            inputs, targets, mask = self._schedule(ordered)
            rows, losses = self._descend(received, inputs, targets, mask)
        seconds = (time.perf_counter() - started) / len(ordered)
        made = []
        for i, job in enumerate(ordered):
            began, side = time.perf_counter() - seconds, {"loss": losses[i]}
            reply = Reply(job.client, rows[i], plan.weights[job.client], side, measured=side)
            made.append(finished(plan, self._streams, reply, received, job, began))
        return made

    def _schedule(self, jobs: list[Job]) -> tuple[Tensor, Tensor, Tensor]:
        """Gather every batch of every client: ``[steps, clients, batch, ...]``, padded."""
        assert self._plan is not None
        orders = [self._order(job) for job in jobs]
        size, steps = max(len(b) for o in orders for b in o), max(len(order) for order in orders)
        first = self._plan.shards[jobs[0].client, jobs[0].shard]
        inputs = first.inputs.new_zeros(steps, len(jobs), size, *first.inputs.shape[1:])
        targets = first.targets.new_zeros(steps, len(jobs), size, *first.targets.shape[1:])
        mask = first.inputs.new_zeros(steps, len(jobs), size)
        for i, (job, order) in enumerate(zip(jobs, orders, strict=True)):
            shard = self._plan.shards[job.client, job.shard]
            where = torch.cat(order)
            real = torch.tensor([len(batch) for batch in order])[:, None] > torch.arange(size)
            mask[: len(order), i] = real.to(mask.dtype)
            inputs[: len(order), i][real] = shard.inputs[where]
            targets[: len(order), i][real] = shard.targets[where]
        return inputs, targets, mask

    def _order(self, job: Job) -> list[Tensor]:
        """Return the sample indices of each batch, drawn exactly as the other engines draw."""
        assert self._plan is not None
        trainer, samples = self._trainer, len(self._plan.shards[job.client, job.shard])
        rng = self._streams.at(Draw.BATCH, job.round, job.client)
        return trainer.drawn(samples, job.work, rng)

    @property
    def _trainer(self) -> Sgd:
        assert self._plan is not None
        assert isinstance(self._plan.trainer, Sgd)
        return self._plan.trainer

    def _descend(
        self, received: Tensor, inputs: Tensor, targets: Tensor, mask: Tensor
    ) -> tuple[Tensor, list[float]]:
        assert self._plan is not None
        trainer, layout, clients = self._trainer, self._plan.layout, inputs.shape[1]
        names = [slot.name for slot in layout.slots]
        weights = [
            received[slot.where].view(slot.shape).expand(clients, *slot.shape).clone()
            for slot in layout.slots
        ]
        velocity = [torch.zeros_like(weight) for weight in weights]
        start = [weight.clone() for weight in weights] if trainer.pull else []
        total, active_steps = received.new_zeros(clients), received.new_zeros(clients)
        forward = vmap(lambda named, x: functional_call(self._module, named, (x,)))
        for x, y, m in zip(inputs, targets, mask, strict=True):
            leaves = [weight.requires_grad_() for weight in weights]
            outputs = forward(dict(zip(names, leaves, strict=True)), x)
            losses = self._plan.task.loss(outputs.flatten(0, 1), y.flatten(0, 1)).view_as(m)
            loss = (losses * m).sum(1) / m.sum(1).clamp(min=1)
            gradients = torch.autograd.grad(loss.sum(), leaves)
            active = (m.sum(1) > 0).to(x.dtype)
            weights = [weight.detach() for weight in leaves]
            self._step(weights, list(gradients), velocity, start, active)
            total += loss.detach() * active
            active_steps += active
        rows = torch.cat([weight.reshape(clients, -1) for weight in weights], dim=1) - received
        return rows, (total / active_steps).double().tolist()

    @torch.no_grad()
    def _step(
        self,
        weights: list[Tensor],
        gradients: list[Tensor],
        velocity: list[Tensor],
        start: list[Tensor],
        active: Tensor,
    ) -> None:
        trainer = self._trainer
        if trainer.weight_decay:
            torch._foreach_add_(gradients, weights, alpha=trainer.weight_decay)
        if trainer.pull:
            torch._foreach_add_(gradients, torch._foreach_sub(weights, start), alpha=trainer.pull)
        torch._foreach_mul_(velocity, trainer.momentum)
        torch._foreach_add_(velocity, gradients)
        if bool(active.all()):
            torch._foreach_add_(weights, velocity, alpha=-trainer.lr)
            return
        for weight, speed in zip(weights, velocity, strict=True):
            shape = (len(active),) + (1,) * (weight.dim() - 1)
            weight.sub_(speed * active.view(shape), alpha=trainer.lr)

    def close(self) -> None:
        """Forget the plan."""
        self._plan = None
