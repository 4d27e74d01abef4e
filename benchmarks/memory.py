"""Resident memory after each round of a long run: does it grow?

Usage: python benchmarks/memory.py [--rounds 200] [--hospitals 100] [--engines serial threads pool]
       [--stacks plain full] [--json]

Every engine and stack runs in a process of its own, with a results folder, and after each round
its resident memory is read, its workers' included. The first half of the rounds is warm-up, in
which allocators settle. The slope is that of a straight line through the others, in KiB a round;
its interval (95 %) is of a bootstrap of the residuals by blocks of a tenth of those rounds, as
neighboring rounds are not independent. *record* is what a round's line of the record takes in
memory: a run keeps its record, which is read as a whole at its end, so this much growth is meant.
*beyond* is the slope less that.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Store

PAGE = os.sysconf("SC_PAGE_SIZE") / 1024
ENGINES = ("serial", "threads", "pool")
STACKS: dict[str, list[object]] = {
    "plain": ["mean"],
    "full": ["adaptive-clip", "foolsgold", "ledger"],
}
Floats = npt.NDArray[np.float64]


def experiment(hospitals: int, rounds: int, stack: str) -> Experiment:
    """Return hospitals of which a fifth attack, on synthetic radiographs."""
    asked: Experiment = parse(
        Experiment,
        {
            "dataset": {"name": "phantom", "n": 20 * hospitals},
            "partition": "iid",
            "model": "small-cnn",
            "trainer": {"name": "sgd", "batch_size": 8, "steps": 1},
            "federation": {"hospitals": hospitals, "rounds": rounds},
            "threat": {"hostile": hospitals // 5},
            "attack": "ipm",
            "defenses": STACKS[stack],
            "evaluation": {"every": 10},
        },
    )
    return asked


def resident(process: int) -> float:
    """Return the memory of a process and of those it started, in KiB."""
    try:
        own = float(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
        children = [
            int(child)
            for path in Path(f"/proc/{process}/task").glob("*/children")
            for child in path.read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return own + sum(map(resident, children))


def held(value: object, seen: set[int]) -> int:
    """Return the bytes of a value and of all in it that was not seen before."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    parts: Iterable[object] = ()
    if isinstance(value, dict):
        parts = (*value, *value.values())
    elif isinstance(value, list | tuple):
        parts = value
    return sys.getsizeof(value) + sum(held(part, seen) for part in parts)


def measure(engine: str, stack: str, hospitals: int, rounds: int) -> tuple[Floats, float]:
    """Run once; return the memory after each round, and what a line of the record takes, in KiB."""
    after: list[float] = []
    options = RunOptions(
        engine=engine, jobs=2, on_round=lambda _: after.append(resident(os.getpid()))
    )
    with tempfile.TemporaryDirectory() as folder:
        lines = run_experiment(
            experiment(hospitals, rounds, stack), Store(Path(folder)).open(), options
        )
    played = [line for line in lines if line["type"] == "round"]
    return np.array(after), held(played, set()) / 1024 / len(played)


def slope(after: Floats, draws: int = 2000) -> tuple[float, float, float]:
    """Return the slope in KiB a round and its 95 % interval, warm-up left out."""
    warm = len(after) // 2
    memory, x = after[warm:], np.arange(len(after) - warm, dtype=float)
    fitted = np.polyval(line := np.polyfit(x, memory, 1), x)
    block = max(2, len(x) // 10)
    rng = np.random.default_rng(0)
    count = -(-len(x) // block)
    starts = rng.integers(0, len(x) - block + 1, (draws, count))
    picked = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, : len(x)]
    again = np.polyfit(x, (fitted + (memory - fitted)[picked]).T, 1)[0]
    low, high = np.quantile(again, [0.025, 0.975])
    return float(line[0]), float(low), float(high)


def alone(engine: str, stack: str, hospitals: int, rounds: int) -> dict[str, object]:
    """Measure in a new process, and say what came out."""
    words = ["--one", engine, stack, "--hospitals", str(hospitals), "--rounds", str(rounds)]
    done = subprocess.run(
        [sys.executable, __file__, *words],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    told = json.loads(done.stdout)
    grows, low, high = slope(np.array(told["after"]))
    return {
        "engine": engine,
        "stack": stack,
        "mib": round(told["after"][len(told["after"]) // 2] / 1024, 1),
        "last_mib": round(told["after"][-1] / 1024, 1),
        "slope": round(grows, 1),
        "low": round(low, 1),
        "high": round(high, 1),
        "record": round(told["record"], 1),
        "beyond": round(grows - told["record"], 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for every engine and stack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--hospitals", type=int, default=100)
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    parser.add_argument("--stacks", nargs="+", default=list(STACKS), choices=list(STACKS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.one:
        engine, stack = asked.one
        after, record = measure(engine, stack, asked.hospitals, asked.rounds)
        print(json.dumps({"after": after.tolist(), "record": record}))
        return
    if not asked.json:
        print("engine   stack  MiB warm   last  KiB/round           95 %  record  beyond")
    for stack in asked.stacks:
        for engine in asked.engines:
            row = alone(engine, stack, asked.hospitals, asked.rounds)
            if asked.json:
                print(json.dumps(row), flush=True)
                continue
            between = f"{row['low']} to {row['high']}"
            print(
                f"{engine:<8} {stack:<6} {row['mib']:>8} {row['last_mib']:>6} "
                f"{row['slope']:>10} {between:>14} {row['record']:>7} {row['beyond']:>7}",
                flush=True,
            )


if __name__ == "__main__":
    main()
