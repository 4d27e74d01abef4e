"""Python threads with one intra-op thread each: nothing is pickled, it starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import ClassVar

from torch import Tensor

from asepsis.core.engine import Job, Plan
from asepsis.core.threads import one_thread
from asepsis.core.updates import Reply
from asepsis.engines.worker import Worker, cores

SMALL = 20_000
"""Below this many parameters a step is mostly Python, which threads only take turns at."""


class Threads:
    """Runs jobs on a few threads, each with its own copy of the module."""

    name: ClassVar[str] = "threads"
    numerics: ClassVar[str] = "reference"

    def __init__(self, jobs: int | None = None) -> None:
        self._count = jobs or cores()
        self._workers: SimpleQueue[Worker] = SimpleQueue()
        self._executor: ThreadPoolExecutor | None = None

    def start(self, plan: Plan) -> None:
        """Take the plan and make the workers."""
        count = 1 if plan.layout.dim < SMALL else min(self._count, len(plan.weights))
        self._workers = SimpleQueue()
        for _ in range(count):
            self._workers.put(Worker(plan))
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="asepsis")

    def train(self, received: Tensor, jobs: Sequence[Job]) -> list[Reply]:
        """Run the jobs; replies are sorted by client id."""
        assert self._executor is not None, "start the engine first"
        with one_thread():
            ordered = sorted(jobs, key=lambda job: job.client)
            if self._workers.qsize() == 1:  # handing over to a single thread only costs time
                return [self._run(received, job) for job in ordered]
            return list(self._executor.map(lambda job: self._run(received, job), ordered))

    def _run(self, received: Tensor, job: Job) -> Reply:
        worker = self._workers.get()
        try:
            return worker.run(received, job)
        finally:
            self._workers.put(worker)

    def close(self) -> None:
        """Stop the threads."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None
