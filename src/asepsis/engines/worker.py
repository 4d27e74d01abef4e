"""One worker: its own copy of the module, one intra-op thread, one job after another."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from asepsis.core.contracts import Keeps
from asepsis.core.engine import Job, Plan
from asepsis.core.rng import Draw, Streams
from asepsis.core.updates import Reply, State
from asepsis.federation.protecting import protect

LOCAL = "local/"
MEMORY = "trainer/"
"""What a hospital keeps: its local parts of the model, and what its trainer remembers."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Worker:
    """Trains one client at a time on its own copy of the module."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._streams = Streams(plan.seed)
        self._module = copy.deepcopy(plan.module)
        if any(parameter.dim() == 4 for parameter in self._module.parameters()):
            self._module = self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        shared = {slot.name for slot in plan.layout.slots}
        tensors = {**dict(self._module.named_parameters()), **dict(self._module.named_buffers())}
        # Nothing of these travels. Local parts are a client's own; counters such as BatchNorm's
        # start from the initial ones, or a client would inherit those of whoever this worker
        # trained before.
        self._initial = {
            name: (tensor, tensor.detach().clone())
            for name, tensor in tensors.items()
            if name not in shared
        }

    def run(self, received: Tensor, job: Job) -> Reply:
        """Train one client and return its reply."""
        started = time.perf_counter()
        self._move_in(job.home)
        row, side, memory = self._train(received, job)
        home = _named(LOCAL, self._plan.layout.kept(self._module)) | _named(MEMORY, memory)
        afresh = not all(bool(torch.isfinite(tensor).all()) for tensor in home.values())
        reply = Reply(
            client=job.client,
            row=row,
            weight=self._plan.weights[job.client],
            side=side,
            home={} if afresh else home,
            afresh=afresh,
            measured=side,
        )
        return finished(self._plan, self._streams, reply, received, job, started)

    @torch.no_grad()
    def _move_in(self, home: State) -> None:
        """Put in place what never travels: what the client has kept, else the initial values."""
        for name, (tensor, initial) in self._initial.items():
            tensor.copy_(home.get(LOCAL + name, initial))

    def _train(self, received: Tensor, job: Job) -> tuple[Tensor, Mapping[str, float], State]:
        plan = self._plan
        shard = plan.shards[job.client, job.shard]
        rng = self._streams.at(Draw.BATCH, job.round, job.client)
        if isinstance(plan.trainer, Keeps):
            memory = {
                name.removeprefix(MEMORY): tensor
                for name, tensor in job.home.items()
                if name.startswith(MEMORY)
            }
            return plan.trainer.train_on(
                self._module, plan.layout, received, shard, plan.task, rng, job.work, memory
            )
        row, side = plan.trainer.train(
            self._module, plan.layout, received, shard, plan.task, rng, job.work
        )
        return row, side, {}


def finished(
    plan: Plan, streams: Streams, reply: Reply, received: Tensor, job: Job, started: float
) -> Reply:
    """Return a reply as it leaves: protected, where its hospital does that, and with its time."""
    if job.told is not None:
        reply = protect(plan, streams, reply, received, job.round, job.told)
    return replace(reply, seconds=time.perf_counter() - started)


def _named(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}
