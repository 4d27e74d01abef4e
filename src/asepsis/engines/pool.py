"""Processes that persist: the plan is handed over once, then only rows travel."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from asepsis.core.engine import Job, Plan
from asepsis.core.errors import AsepsisError
from asepsis.core.samples import Array
from asepsis.core.updates import Reply, State
from asepsis.engines.processes import end_with_parent, interrupts_held
from asepsis.engines.worker import Worker, cores
from asepsis.models.user_code import load_again, loaded

Arrays = dict[str, Array]
_worker: Worker | None = None


def _begin(plan: bytes, code: dict[str, str]) -> None:
    global _worker
    end_with_parent()
    torch.set_num_threads(1)
    load_again(code)
    _worker = Worker(pickle.loads(plan))  # noqa: S301 (our own bytes, from the parent process)


def _run(received: Array, jobs: list[tuple[Job, Arrays]]) -> list[tuple[Reply, Array, Arrays]]:
    assert _worker is not None
    row = torch.from_numpy(received)
    replies = [_worker.run(row, replace(job, home=_tensors(home))) for job, home in jobs]
    return [
        (replace(reply, row=torch.empty(0), home={}), reply.row.numpy(), _arrays(reply.home))
        for reply in replies
    ]


# Tensors cross as arrays: one as it is would be an open file descriptor.
def _arrays(state: State) -> Arrays:
    return {name: tensor.numpy() for name, tensor in state.items()}


def _tensors(arrays: Arrays) -> State:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class Pool:
    """Runs jobs in worker processes, started afresh (``spawn``) and kept until closed."""

    name: ClassVar[str] = "pool"
    numerics: ClassVar[str] = "reference"

    def __init__(self, jobs: int | None = None) -> None:
        self._count = jobs or cores()
        self._executor: ProcessPoolExecutor | None = None

    def start(self, plan: Plan) -> None:
        """Start the processes and hand the plan over."""
        self.close()
        self._count = min(self._count, len(plan.weights))
        self._executor = ProcessPoolExecutor(
            self._count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(pickle.dumps(plan), loaded()),
        )

    def train(self, received: Tensor, jobs: Sequence[Job]) -> list[Reply]:
        """Run the jobs; replies are sorted by client id."""
        assert self._executor is not None, "start the engine first"
        ordered = sorted(jobs, key=lambda job: job.client)
        row = received.numpy()
        packed = [(replace(job, home={}), _arrays(job.home)) for job in ordered]
        shares = [packed[i :: self._count] for i in range(self._count)]
        with interrupts_held():  # the first round starts the processes
            futures = [self._executor.submit(_run, row, share) for share in shares if share]
        try:
            done = [answer for future in futures for answer in future.result()]
        except BrokenProcessPool:
            raise AsepsisError(
                "a worker process died (out of memory, or killed)",
                place="engine pool",
                fix="run again with --resume, or with fewer --jobs",
            ) from None
        replies = [
            replace(reply, row=torch.from_numpy(row), home=_tensors(home))
            for reply, row, home in done
        ]
        return sorted(replies, key=lambda reply: reply.client)

    def close(self) -> None:
        """Stop the processes."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None
