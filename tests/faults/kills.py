"""Kill a small sweep at seeded moments, go on with it, and compare: a program of its own.

``python kills.py SCENARIO KILLS FOLDER`` prints one line of JSON a trial. torch is imported once;
every process that plays is forked from here, and nothing is trained here, since what autograd
sets up does not survive a fork. A process is killed by SIGKILL: after a drawn time (``time``), just
before it touches a file of the results folder (``touch``), or in the middle of writing one
(``torn``).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from asepsis.api import execute
from asepsis.experiments import ledgers as ledgers_module
from asepsis.experiments import run as run_module
from asepsis.experiments import store as store_module
from asepsis.experiments.plan import Plan, plan_study, study_from
from asepsis.experiments.resolve import resolve
from asepsis.experiments.run import RunOptions
from asepsis.experiments.store import Store, encode
from asepsis.experiments.version import code_version
from asepsis.federation.generating import detector, downstream, extractor

MODES = ("time", "touch", "torn")
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod")
AT_MOST = 3
"""Kills of one trial, one resumption after the other."""
RECORDS: dict[str, Any] = {
    "dataset": "breast-cancer",
    "trainer": {"name": "sgd", "steps": 1, "batch_size": 16},
    "federation": {"hospitals": 5, "rounds": 8},
    "threat": {"hostile": 1, "starts_at": 3},
}
PHANTOMS = {"name": "phantom", "n": 120, "size": 16}
SCENARIOS: dict[str, dict[str, Any]] = {
    # Screens that remember, a server with momentum, rounds before the attack that cells share.
    "defended": {
        **RECORDS,
        "federation": {**RECORDS["federation"], "server": "fedadam"},
        "over": {
            "attack": ["none", "ipm"],
            "defenses": [["reputation", "median"], ["foolsgold"]],
        },
    },
    "ledger": {**RECORDS, "attack": "sign-flip", "defenses": ["krum", "ledger"]},
    # Pictures of observers, and a trigger that changes: it is tried on its twin's models.
    "watched": {
        "dataset": PHANTOMS,
        "partition": "iid",
        "model": "mlp",
        "trainer": {"name": "sgd", "steps": 1, "batch_size": 4},
        "federation": {"hospitals": 3, "rounds": 4},
        "threat": {"hostile": 1, "starts_at": 2},
        "attack": {"name": "a3fl", "trigger_steps": 2},
        "observe": [{"name": "dlg", "iterations": 1}],
    },
    # Hospitals that keep a critic and its optimizer at home.
    "gan": {
        "dataset": PHANTOMS,
        "partition": "iid",
        "task": "generation",
        "model": {"name": "dcgan", "width": 4, "critic_width": 4, "z_dim": 4},
        "trainer": {"name": "gan", "steps": 1, "batch_size": 8},
        "federation": {"hospitals": 3, "rounds": 4},
    },
}


@dataclass(frozen=True)
class Kill:
    """When a process is killed: a share of the time, of the touched or of the written files."""

    mode: str
    moment: float
    part: float


@dataclass(frozen=True)
class Whole:
    """What a run that nothing happens to takes and leaves."""

    seconds: float
    touched: int
    written: int
    left: dict[str, Any]


def play(plan: Plan, out: Path) -> None:
    how = RunOptions(engine="serial", jobs=1, resume=True)
    execute(plan, Store(out), how)


def forked(work: Callable[[], None]) -> int:
    """Do something in a fork of this process; return its id."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 (a fork must end here, whatever happened)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def ended(child: int) -> int:
    """Wait for a process: its exit code, or the negative signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_touch(out: Path, act: Callable[[], None]) -> None:
    """Call ``act`` before this process opens, moves or removes a file of the folder."""
    root = str(out)

    def hook(event: str, arguments: Sequence[Any]) -> None:
        if event in EVENTS and str(arguments[0]).startswith(root):
            act()

    sys.addaudithook(hook)


def on_write(act: Callable[[IO[bytes], bytes], None]) -> None:
    """Call ``act`` instead of writing a file's content, or what is appended to one."""

    class Written:
        def __init__(self, handle: IO[bytes]) -> None:
            self.handle = handle

        def __enter__(self) -> Written:
            return self

        def __exit__(self, *_: object) -> None:
            self.handle.close()

        def write(self, content: bytes) -> None:
            act(self.handle, content)

    def opened(*how: Any, **more: Any) -> Any:
        handle = open(*how, **more)  # noqa: SIM115 (closed by who asked for it)
        return handle if handle.mode == "rb" else Written(handle)

    def appended(path: Path, lines: Sequence[bytes]) -> None:
        with path.open("ab") as handle:
            act(handle, b"".join(line + b"\n" for line in lines))

    vars(store_module)["open"] = opened
    for module in (store_module, ledgers_module):
        vars(module)["append_lines"] = appended


def counting(plan: Plan, out: Path, counts: Path) -> None:
    """Play undisturbed; leave the numbers of touched and of written files."""
    touched, written = [0], [0]

    def touch() -> None:
        touched[0] += 1

    def write(handle: IO[bytes], content: bytes) -> None:
        written[0] += 1
        handle.write(content)

    on_touch(out, touch)
    on_write(write)
    play(plan, out)
    counts.write_text(json.dumps([touched[0], written[0]]))


def killed_at(plan: Plan, out: Path, kill: Kill, whole: Whole) -> None:
    """Play until this process touches, or writes, the file at which it is killed."""
    total = whole.touched if kill.mode == "touch" else whole.written
    left = [1 + int(kill.moment * total)]

    def touch() -> None:
        left[0] -= 1
        if left[0] == 0:
            die()

    def write(handle: IO[bytes], content: bytes) -> None:
        left[0] -= 1
        if left[0] == 0:
            handle.write(content[: int(kill.part * len(content))])
            handle.flush()
            die()
        handle.write(content)

    if kill.mode == "touch":
        on_touch(out, touch)
    else:
        on_write(write)
    play(plan, out)


def strike(plan: Plan, out: Path, kill: Kill, whole: Whole) -> int:
    """Play in a process that is killed; return how it ended."""
    if kill.mode != "time":
        return ended(forked(lambda: killed_at(plan, out, kill, whole)))
    child = forked(lambda: play(plan, out))
    time.sleep(kill.moment * whole.seconds)
    os.kill(child, signal.SIGKILL)
    return ended(child)


def left_in(out: Path) -> dict[str, Any]:
    """Return what a folder holds but for what was observed: all of it must be as undisturbed."""
    files = [path for path in out.rglob("*") if path.is_file()]
    return {path.relative_to(out).as_posix(): _content(path) for path in files}


def _content(path: Path) -> Any:
    if path.parent.name not in ("runs", "prefixes") or path.suffix != ".jsonl":
        return path.read_bytes()
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [(line["type"], encode(line["result"])) for line in lines]


def halves(out: Path) -> int:
    """Count the half-written files."""
    return sum(path.name.endswith(store_module.HALF_WRITTEN) for path in out.rglob(".*"))


def undisturbed(plan: Plan, folder: Path) -> Whole:
    out, counts = folder / "whole", folder / "counts.json"
    started = time.monotonic()
    code = ended(forked(lambda: counting(plan, out, counts)))
    seconds = time.monotonic() - started
    assert code == 0, "the undisturbed run failed"
    touched, written = json.loads(counts.read_text())
    return Whole(seconds, touched, written, left_in(out))


def trial(plan: Plan, folder: Path, seed: int, whole: Whole) -> dict[str, Any]:
    """Kill one sweep up to three times, go on, and say what is wrong with what it left."""
    rng, out = np.random.default_rng([seed, *plan.study.name.encode()]), folder / str(seed)
    run_module.CHECKPOINT_SECONDS = float(rng.choice([0.0, 0.02, 2.0]))
    run_module.WRITING = math.inf
    kills, wrong = [], []
    for turn in range(int(rng.integers(1, AT_MOST + 1))):
        mode = MODES[(seed + turn) % len(MODES)]
        kill = Kill(mode, float(rng.random()), float(rng.random()))
        code = strike(plan, out, kill, whole)
        if code == -signal.SIGKILL:
            kills.append(mode)
        elif code != 0:
            wrong.append(f"{mode} at {kill.moment:.3f} ended with {code}")
        if (count := halves(out)) > 1:
            wrong.append(f"{count} half-written files")
    if ended(forked(lambda: play(plan, out))) != 0:
        wrong.append("the last resumption failed")
    wrong += differences(left_in(out), whole.left)
    if not wrong:
        shutil.rmtree(out)
    return {"seed": seed, "kills": kills, "wrong": wrong}


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    more = [f"{name} should not be there" for name in found.keys() - wanted.keys()]
    less = [f"{name} is missing" for name in wanted.keys() - found.keys()]
    same = sorted(found.keys() & wanted.keys())
    other = [name for name in same if found[name] != wanted[name]]
    return more + less + [f"{name} differs{_where(found[name], wanted[name])}" for name in other]


def _where(found: Any, wanted: Any) -> str:
    if isinstance(found, bytes) or isinstance(wanted, bytes):
        return f": {len(found)} bytes, not {len(wanted)}"
    lines = [n for n, (a, b) in enumerate(zip(found, wanted, strict=False), 1) if a != b]
    return f": {len(found)} lines, not {len(wanted)}; other lines {lines}"


def trials(name: str, kills: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield trials until so many processes were killed."""
    torch.set_num_threads(1)
    for module in (extractor, detector, downstream):
        vars(module)["STEPS"] = 10
    plan = plan_study(study_from(SCENARIOS[name], name))
    resolve(plan.cells[0].spec)  # data are read once, for all forks, and so is the code
    code_version()
    whole, seed = undisturbed(plan, folder), 0
    while kills > 0:
        done = trial(plan, folder, seed, whole)
        yield done
        kills, seed = kills - len(done["kills"]), seed + 1


if __name__ == "__main__":
    for found in trials(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])):
        print(json.dumps(found), flush=True)
