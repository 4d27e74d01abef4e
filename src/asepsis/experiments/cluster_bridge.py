"""The child that speaks to Ray: ``python -m asepsis.experiments.cluster_bridge ADDRESS``.

It passes on groups from its input to tasks, and what tasks yield to its output. When its input
ends, so do the tasks, and it: nothing stays behind when the sweep is killed.
"""

from __future__ import annotations

import os
import sys
import time
from queue import Empty, Queue
from threading import Thread
from typing import Any, BinaryIO

from asepsis.experiments.parcel import Parcel, receive, send

FAREWELL = 5.0
"""Seconds that tasks have to tidy up when they are called back."""

Request = tuple[dict[str, Any], bytes]


def _requests(source: BinaryIO) -> Queue[Request | None]:
    asked: Queue[Request | None] = Queue()

    def read() -> None:
        while True:
            head, content = receive(source), receive(source)
            if head is None or content is None:
                asked.put(None)
                return
            asked.put((Parcel.unpack(head).told, content))

    Thread(target=read, name="requests", daemon=True).start()
    return asked


class _Out:
    """Tasks that are out, by the journey they are on."""

    def __init__(self, ray: Any, answers: BinaryIO) -> None:
        from asepsis.experiments.cluster_node import play

        self._ray, self._answers = ray, answers
        self._task = ray.remote(play)
        self.tasks: dict[Any, int] = {}

    def go(self, told: dict[str, Any], content: bytes) -> None:
        how = {"num_cpus": 1, "max_retries": 0, "num_returns": "streaming"}
        started = self._task.options(**how, num_gpus=int(told["gpu"])).remote(content)
        self.tasks[started] = told["journey"]

    def answer(self, **told: Any) -> None:
        send(self._answers, Parcel(told).pack())

    def pass_on(self) -> None:
        """Pass on what tasks have yielded; a task that ends in an error was lost with its node."""
        ready, _ = self._ray.wait(list(self.tasks), timeout=0.2, fetch_local=False)
        for task in ready:
            journey = self.tasks[task]
            try:
                content = Parcel.unpack(self._ray.get(next(task)))
            except StopIteration:
                self._end(task, kind="ended")
            except self._ray.exceptions.RayTaskError as error:
                cause = f"{type(error.cause).__name__}: {error.cause}"
                self._end(task, kind="refused", message=f"a node cannot run this: {cause}"[:500])
            except self._ray.exceptions.RayError as error:
                self._end(task, kind="lost", message=str(error).strip().splitlines()[0][:200])
            else:
                told = {**content.told, "journey": journey, "room": self.room()}
                send(self._answers, Parcel(told, content.files).pack())
                del journey

    def _end(self, task: Any, **told: Any) -> None:
        self.answer(**told, journey=self.tasks.pop(task), room=self.room())

    def room(self) -> int:
        """Twice as many groups as there are processors: none waits for the next one."""
        return max(2, 2 * int(self._ray.cluster_resources().get("CPU", 0)))

    def call_back(self) -> None:
        for task in self.tasks:
            self._ray.cancel(task)
        until = time.monotonic() + FAREWELL
        while self.tasks and time.monotonic() < until:
            ready, _ = self._ray.wait(list(self.tasks), timeout=0.2, fetch_local=False)
            for task in ready:
                try:
                    next(task)
                except (StopIteration, self._ray.exceptions.RayError):
                    del self.tasks[task]


def main(address: str) -> None:
    """Join a cluster that runs, and serve until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever Ray prints is none of our messages
    asked = _requests(sys.stdin.buffer)
    import ray

    send(answers, Parcel({"kind": "begun"}).pack())
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    out = _Out(ray, answers)
    out.answer(kind="ready", room=out.room())
    while True:
        try:
            request = asked.get(timeout=0 if out.tasks else 0.5)
        except Empty:
            if out.tasks:
                out.pass_on()
            continue
        if request is None:
            break
        out.go(*request)
    out.call_back()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
