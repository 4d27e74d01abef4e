"""Interrupting, killing and starving a real ``asepsis run`` with two worker processes.

Whatever happens, the program ends with one message, leaves no process behind, and ``--resume``
ends in the records of a run that nothing happened to.
"""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from asepsis.experiments.store import read_record, results_of, rounds_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"),
]

ROUNDS, RULES = 120, 3
CELLS = 2 * RULES
STUDY = f"""
dataset = "breast-cancer"
attack = "ipm"
trainer = {{ name = "sgd", steps = 2 }}
federation = {{ hospitals = 7, rounds = {ROUNDS} }}
threat = {{ hostile = 2, starts_at = 30 }}
[over]
defenses = [["mean"], [{{ name = "krum", f = 1 }}], ["geometric-median"]]
"""
PATIENCE = 300.0
"""Seconds: far beyond what a healthy program needs, even on a busy machine."""

Records = dict[str, list[str]]


class Run:
    """One ``asepsis run`` in a session of its own, so that none of its processes can hide."""

    def __init__(self, out: Path, *more: str, limit: int | None = None, text: str = STUDY) -> None:
        self.out = out
        study = out.parent / ("small.toml" if text == STUDY else "other.toml")
        study.write_text(text)
        self.words = ["run", str(study), "--jobs", "2", "--out", str(out), *more]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "asepsis.cli.main", *self.words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "ASEPSIS_OFFLINE": "1"},
            preexec_fn=None if limit is None else _limited(limit),
        )

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait for a moment in the life of the run."""
        deadline = time.monotonic() + PATIENCE
        while not ready():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "the run does not get there"
            time.sleep(0.01)

    def until_lines(self, count: int) -> None:
        """Wait until the records hold so many lines."""
        self.until(lambda: written(self.out) >= count)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end: exit code, output, messages; nobody may live on."""
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError("the run does not end") from None
        wait_until_empty(self.process.pid)
        return self.process.returncode, out, err

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        return [pid for pid in session(self.process.pid) if "spawn_main" in command(pid)]


def _limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                # After the name in parentheses: state, parent, group, session.
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(place.name))
    return found


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def wait_until_empty(leader: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while alive := session(leader):
        if time.monotonic() > deadline:
            names = [command(pid) for pid in alive]
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"processes live on: {names}")
        time.sleep(0.05)


def written(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (out / "runs").glob("*.jsonl"))


def records(out: Path) -> Records:
    """Return the deterministic parts of all records: what came before a resumption left out."""
    found = {}
    for path in (out / "runs").glob("*.jsonl"):
        lines = read_record(path)
        found[path.name] = results_of([lines[0], *rounds_of(lines), lines[-1]])
    return found


def resumed(out: Path) -> Records:
    """Go on, check that all is well, and return the records."""
    code, printed, err = Run(out, "--resume").end()
    assert code == 0, err
    assert printed.splitlines()[-1] == str(out / "report.html")
    assert {path.name for path in out.rglob(".*")} <= {".lock", ".runs.lock"}
    assert list((out / "checkpoints").iterdir()) == []
    return records(out)


def one_message(err: str) -> str:
    assert "Traceback" not in err
    assert err.count("asepsis: ") == 1, err
    return err[err.index("asepsis: ") :]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """The records of a run that nothing happened to."""
    run = Run(tmp_path_factory.mktemp("whole") / "out")
    code, _, err = run.end()
    assert code == 0, err
    found = records(run.out)
    assert len(found) == CELLS
    return found


def moments(count: int) -> list[int]:
    """Return seeded moments, as numbers of lines written, anywhere in the run."""
    rng = np.random.default_rng(20260101)
    return sorted(int(n) for n in rng.integers(1, CELLS * ROUNDS * 3 // 4, size=count))


@pytest.mark.parametrize("whom", ["group", "parent"])
def test_ctrl_c_stops_cleanly_and_the_told_command_goes_on(
    tmp_path: Path, whole: Records, whom: str
) -> None:
    run = Run(tmp_path / "out")
    run.until_lines(moments(2)[whom == "parent"])
    started = time.monotonic()
    (os.killpg if whom == "group" else os.kill)(run.process.pid, signal.SIGINT)
    code, out, err = run.end()
    assert time.monotonic() - started < 10
    assert code == 130
    assert out == ""
    told = shlex.split(one_message(err).partition("go on with: ")[2])
    assert told == ["asepsis", *run.words, "--resume"]
    assert resumed(run.out) == whole


def test_ctrl_c_while_the_workers_start_is_as_clean(tmp_path: Path, whole: Records) -> None:
    run = Run(tmp_path / "out")
    run.until(lambda: bool(run.workers()))
    os.killpg(run.process.pid, signal.SIGINT)
    code, _, err = run.end()
    assert code == 130
    one_message(err)
    assert resumed(run.out) == whole


@pytest.mark.parametrize("moment", moments(2))
def test_a_killed_program_leaves_nobody_behind_and_resumes(
    tmp_path: Path, whole: Records, moment: int
) -> None:
    run = Run(tmp_path / "out")
    run.until_lines(moment)
    workers = run.workers()
    assert len(workers) == 2
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.end()[0] == -signal.SIGKILL
    assert resumed(run.out) == whole


@pytest.mark.parametrize("moment", moments(1))
def test_a_killed_worker_ends_the_program_with_one_message(
    tmp_path: Path, whole: Records, moment: int
) -> None:
    run = Run(tmp_path / "out")
    run.until_lines(moment)
    os.kill(run.workers()[moment % 2], signal.SIGKILL)
    code, out, err = run.end()
    assert code == 2
    assert out == ""
    message = one_message(err)
    assert "a worker process died" in message
    assert "--resume" in message
    assert resumed(run.out) == whole


def test_all_killed_at_once_resumes(tmp_path: Path, whole: Records) -> None:
    run = Run(tmp_path / "out")
    run.until_lines(moments(3)[-1])
    os.killpg(run.process.pid, signal.SIGKILL)
    run.end()
    assert resumed(run.out) == whole


def test_a_second_program_is_refused_and_disturbs_nothing(tmp_path: Path, whole: Records) -> None:
    first = Run(tmp_path / "out")
    first.until_lines(1)
    os.killpg(first.process.pid, signal.SIGSTOP)  # or it might end too early to be in the way
    for words, says in (((), "already holds results"), (("--resume",), "another asepsis")):
        code, out, err = Run(tmp_path / "out", *words).end()
        assert code == 2
        assert out == ""
        assert says in one_message(err)
    os.killpg(first.process.pid, signal.SIGCONT)
    assert first.end()[0] == 0
    assert records(first.out) == whole


@pytest.mark.parametrize("text", [STUDY, STUDY.replace("ipm", "sign-flip")])
def test_of_two_programs_started_at_once_one_is_refused_and_the_other_is_right(
    tmp_path: Path, whole: Records, text: str
) -> None:
    """The same study twice, and two different ones; if both began, neither would be whole."""
    both = [Run(tmp_path / "out"), Run(tmp_path / "out", text=text)]
    ends = [run.end() for run in both]
    codes = [code for code, *_ in ends]
    assert sorted(codes) == [0, 2]
    message = one_message(ends[codes.index(2)][2])
    winner = both[codes.index(0)]
    says = (f"process {winner.process.pid} on", "already holds results")
    assert any(words in message for words in says), message
    if codes[0] == 0 or text == STUDY:
        assert records(tmp_path / "out") == whole
    assert len(records(tmp_path / "out")) == CELLS


def test_killed_again_and_again_it_still_goes_on(tmp_path: Path, whole: Records) -> None:
    """A worker, the program, all at once, one after the other, in one folder."""
    rng, more = np.random.default_rng(20260102), list[str]()
    for whom in ("worker", "parent", "group", "worker"):
        run = Run(tmp_path / "out", *more)
        more = ["--resume"]
        run.until(lambda run=run: len(run.workers()) == 2)  # type: ignore[misc]
        grows = written(run.out) + int(rng.integers(1, CELLS * ROUNDS // 6))
        run.until_lines(grows)
        if whom == "worker":
            os.kill(run.workers()[int(rng.integers(2))], signal.SIGKILL)
        elif whom == "parent":
            os.kill(run.process.pid, signal.SIGKILL)
        else:
            os.killpg(run.process.pid, signal.SIGKILL)
        assert run.end()[0] in (2, -signal.SIGKILL)
    assert resumed(tmp_path / "out") == whole


def test_a_file_that_may_not_grow_is_one_message_and_resumes(
    tmp_path: Path, whole: Records
) -> None:
    code, out, err = (run := Run(tmp_path / "out", limit=20_000)).end()
    assert code == 2
    assert out == ""
    assert "File too large" in one_message(err)
    assert resumed(run.out) == whole


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=200k", "none", str(disk)]
    if (
        mount is None
        or subprocess.run([mount, *options], capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting a small file system is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_message_and_resumes(tiny_disk: Path, whole: Records) -> None:
    code, out, err = (run := Run(tiny_disk / "out")).end()
    assert code == 2
    assert out == ""
    message = one_message(err)
    assert "No space left on device" in message
    assert str(tiny_disk) in message
    subprocess.run(["mount", "-o", "remount,size=100m", str(tiny_disk)], check=True)
    assert resumed(run.out) == whole
