"""The same sweep in one process, in the pool, and on a Ray cluster of this machine, in one run.

Usage:
    python benchmarks/sweep_backends.py [--jobs 2] [--rounds 100] [--repeats 3] [--json]

A small study (12 runs in 4 groups) is swept as a user would: `asepsis sweep`, from start to report.
The ratio is that of the pool's wall-clock to each; it holds within one run only, on a machine that
does nothing else. `ray` is a head of its own with `--jobs` processors and a token, which is started
beforehand, is not part of the time, and is ended by its process id. Records must be bit-equal.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asepsis.experiments.store import read_record, results_of

STUDY = """
dataset = "breast-cancer"
trainer = {{ name = "sgd", steps = 4 }}
federation = {{ hospitals = 10, rounds = {rounds} }}
threat = {{ hostile = 2, starts_at = {start} }}
seeds = [0, 1]
[over]
attack = ["none", "ipm", "sign-flip"]
defenses = [["mean"], ["median"]]
"""
BASE = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
BASE |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def ray_head(jobs: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Start a head with a token; end its whole session afterwards, by process id."""
    folder, token = Path(tempfile.mkdtemp(prefix="ray-")), secrets.token_hex(32)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["start", "--head", "--block", "--disable-usage-stats", "--include-dashboard=false"]
    words += [f"--port={port}", "--min-worker-port=0", "--max-worker-port=0"]
    words += [f"--num-cpus={jobs}", f"--temp-dir={folder}", "--object-store-memory=80000000"]
    environment = {**BASE, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    head = subprocess.Popen(
        [str(Path(sys.executable).with_name("ray")), *words],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 120
        while not answers(port):
            assert time.monotonic() < until, "the head does not start"
            time.sleep(0.2)
        yield f"127.0.0.1:{port}", {**BASE, "RAY_AUTH_TOKEN": token}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


def swept(study: Path, out: Path, more: list[str], environment: dict[str, str]) -> float:
    words = ["-m", "asepsis.cli.main", "sweep", str(study), "--json", "--out", str(out), *more]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return time.perf_counter() - began


def records(out: Path) -> dict[str, list[str]]:
    return {path.name: results_of(read_record(path)) for path in (out / "runs").iterdir()}


def measure(jobs: int, rounds: int, repeats: int, folder: Path) -> dict[str, float]:
    study = folder / "small.toml"
    study.write_text(STUDY.format(rounds=rounds, start=rounds // 3))
    times: dict[str, list[float]] = {"pool": [], "one process": [], "ray": []}
    found: list[dict[str, list[str]]] = []
    with ray_head(jobs) as (address, environment):
        how = {
            "pool": (["--jobs", str(jobs)], BASE),
            "one process": (["--jobs", "1"], BASE),
            "ray": (["--cluster", address], environment),
        }
        for repeat in range(repeats):
            for name, (more, around) in how.items():
                out = folder / f"{name}-{repeat}"
                times[name].append(swept(study, out, more, around))
                found.append(records(out))
    assert all(one == found[0] for one in found), "records differ"
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # whoever ends us ends the head, too
    with tempfile.TemporaryDirectory(prefix="asepsis-") as folder:
        found = measure(asked.jobs, asked.rounds, asked.repeats, Path(folder))
    if asked.json:
        print(json.dumps(found))
        return
    for name, seconds in found.items():
        print(f"{name:<12} {seconds:7.1f} s   {seconds / found['pool']:5.2f} x the pool's time")


if __name__ == "__main__":
    main()
