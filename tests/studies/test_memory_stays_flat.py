"""A run's memory does not grow with its rounds, beyond the record that it keeps."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory in /proc"),
]
BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "memory.py"
ROW = 25_346 * 4 / 1024
"""KiB of one row of the network: what the smallest leak worth the name would keep each round."""
TRIES = 2
"""The allocator of a busy machine may take its time to settle; a leak leaks every time."""


@pytest.mark.parametrize("engine", ["serial", "threads", "pool"])
def test_memory_does_not_grow_with_rounds(engine: str) -> None:
    words = ["--rounds", "80", "--hospitals", "30", "--stacks", "full", "--json"]
    found = []
    for _ in range(TRIES):
        done = subprocess.run(
            [sys.executable, str(BENCHMARK), "--engines", engine, *words],
            stdout=subprocess.PIPE,
            check=True,
        )
        found.append(json.loads(done.stdout))
        if found[-1]["beyond"] < ROW / 2 or found[-1]["low"] < found[-1]["record"]:
            return
    pytest.fail(f"memory grows: {found}")


def test_one_row_kept_each_round_would_be_seen() -> None:
    slope = runpy.run_path(str(BENCHMARK))["slope"]
    noise = np.random.default_rng(0).normal(0, 300, 80).cumsum() * 0.1
    grows, low, high = slope(450_000 + noise + ROW * np.arange(80))
    assert 0 < low < grows < high
    assert grows > ROW / 2
    flat, low, high = slope(450_000 + noise)
    assert flat < ROW / 2


def test_memory_that_is_taken_is_measured_in_children_too() -> None:
    resident = runpy.run_path(str(BENCHMARK))["resident"]
    before = resident(os.getpid())
    program = "import sys; taken = b'x' * (64 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert resident(os.getpid()) - before > 60 * 1024
        assert child.stdin is not None
        child.stdin.close()
