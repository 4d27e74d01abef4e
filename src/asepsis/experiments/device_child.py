"""A process that plays one hospital's part of one round, and measures itself.

It is started by :mod:`asepsis.experiments.devices`: a line of module names comes in, then the part;
one line of JSON goes out.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pickle
import resource
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import BinaryIO

import torch
from torch import Tensor

from asepsis.core.engine import Job, Plan
from asepsis.core.rng import Draw, Streams
from asepsis.core.stages import ClientStage, Home
from asepsis.engines.worker import Worker
from asepsis.experiments.device_wires import Wire
from asepsis.models.user_code import load_again

MIB = 1 << 20
QUICK = 0.5
"""What takes less than this many seconds is played again: the first time also warms up."""
TIMES = 5
"""So often at most; times are medians of all but the first."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """All that one hospital has and is told in a round; nothing of any other hospital."""

    plan: Plan
    job: Job
    received: Tensor
    home: Home
    stages: tuple[ClientStage, ...]
    wire: Wire


def play(part: Part) -> dict[str, float]:
    """Train, protect and send; return the seconds of each."""
    started = time.perf_counter()
    reply = Worker(part.plan).run(part.received.clone(), part.job)
    trained = time.perf_counter()
    row, side = reply.row, dict(reply.side)
    for place, stage in enumerate(part.stages):
        rng = Streams(part.plan.seed).at(Draw.CLIENT, part.job.round, part.job.client, place)
        row, told = stage.protect(row.clone(), part.home, rng)
        side = {**({} if getattr(stage, "silent", False) else side), **told}
    protected = time.perf_counter()
    part.wire.send(row, side)
    return {
        "training": trained - started,
        "protection": protected - trained,
        "sending": time.perf_counter() - protected,
    }


def measured(source: BinaryIO) -> dict[str, object]:
    """Read a part, play it, and return seconds and memory (MiB)."""
    modules, code = json.loads(source.readline())
    load_again(code)
    for name in modules:
        importlib.import_module(name)
    torch.set_num_threads(1)
    gc.collect()
    imports = resident()
    part = pickle.load(source)  # noqa: S301 (our own bytes, from the parent process)
    gc.collect()
    forget_peak()
    laps = [play(part)]
    began = time.perf_counter()
    while len(laps) <= TIMES and sum(laps[0].values()) + time.perf_counter() - began < QUICK:
        laps.append(play(part))
    return {
        "seconds": {name: median(lap[name] for lap in laps[1:] or laps) for name in laps[0]},
        "memory_mib": max(peak() - imports, 0) / MIB,
        "imports_mib": imports / MIB,
    }


def resident() -> int:
    """Return the bytes of memory that this process has now; its peak where only that is known."""
    return _status("VmRSS") or peak()


def peak() -> int:
    """Return the most bytes of memory that this process has had.

    Not ``ru_maxrss`` on Linux: a process that a large one starts inherits the large one's peak.
    """
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status("VmHWM") or most * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Let the peak begin at what is there now, where the system can: reading took copies."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return


def _status(name: str) -> int:
    """Return a figure of the kernel about this process, in bytes; 0 where there is none."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            lines = [line.split() for line in file if line.startswith(f"{name}:")]
    except OSError:
        return 0
    return int(lines[0][1]) * 1024 if lines else 0


def main() -> None:
    """Answer on the real standard output, whatever a component prints."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        told = measured(sys.stdin.buffer)
    except Exception as error:  # noqa: BLE001 (whatever a component does is told to the parent)
        told = {"error": f"{type(error).__name__}: {error}"}
    with answer:
        answer.write(json.dumps(told))
