"""Trying what may go wrong in a process of its own: with little memory, and little time."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import traceback
from collections.abc import Callable

FAULT = "fault: "
WAITING = 60
"""Seconds of a clock; a machine that is busy takes no time of a processor."""


def confined(what: Callable[[], str], mebibytes: int = 512, seconds: int = 10) -> str:
    """Return what a child of this process says, or what became of it.

    It may take so much more memory than this process has, and so many seconds of a processor.
    """
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(source)
        told = _alone(what, mebibytes, seconds)
        os.write(sink, pickle.dumps(told[:4000]))
        os._exit(0)
    os.close(sink)
    with os.fdopen(source, "rb") as stream:
        content = stream.read()
    _, status = os.waitpid(child, 0)
    if not content:
        by = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else status
        return f"{FAULT}it ended by {by}"
    said: str = pickle.loads(content)  # noqa: S301 (our own child)
    return said


def _alone(what: Callable[[], str], mebibytes: int, seconds: int) -> str:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(WAITING)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[5])
    most = pages * os.sysconf("SC_PAGE_SIZE") + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))  # what is only mapped is not counted
    try:
        return what()
    except BaseException:  # noqa: BLE001 (whatever it is, it is what is looked for)
        return FAULT + traceback.format_exc()
