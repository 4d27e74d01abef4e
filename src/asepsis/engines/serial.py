"""One client after another, in this thread: the engine to debug with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from asepsis.core.engine import Job, Plan
from asepsis.core.threads import one_thread
from asepsis.core.updates import Reply
from asepsis.engines.worker import Worker


class Serial:
    """Runs jobs in order of client id."""

    name: ClassVar[str] = "serial"
    numerics: ClassVar[str] = "reference"

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def start(self, plan: Plan) -> None:
        """Take the plan."""
        self._worker = Worker(plan)

    def train(self, received: Tensor, jobs: Sequence[Job]) -> list[Reply]:
        """Run the jobs; replies are sorted by client id."""
        assert self._worker is not None, "start the engine first"
        with one_thread():
            ordered = sorted(jobs, key=lambda job: job.client)
            return [self._worker.run(received, job) for job in ordered]

    def close(self) -> None:
        """Forget the plan."""
        self._worker = None
