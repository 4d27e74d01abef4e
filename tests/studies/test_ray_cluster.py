"""A sweep on a real Ray cluster of this machine, which the test starts with a token, and ends.

Whatever happens to a worker, a node, the head or the sweep itself, the records end as those of a
sweep that nothing happened to. Ray listens on every interface of the machine: the token, drawn
here, is what keeps others out.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from asepsis.experiments.store import read_record, results_of, rounds_of

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"),
]

ROUNDS, EARLY = 150, 40
STUDY = f"""
dataset = "breast-cancer"
trainer = {{ name = "sgd", steps = 2 }}
federation = {{ hospitals = 7, rounds = {ROUNDS} }}
threat = {{ hostile = 2, starts_at = 40 }}
[over]
attack = ["none", "ipm"]
defenses = [["mean"], ["median"], [{{ name = "krum", f = 1 }}]]
"""
SAVED = "Rounds before the attack: 120 played, 120 reused."
PATIENCE = 240.0
"""Seconds: far beyond what a healthy program needs, even on a busy machine."""
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
    "OMP_NUM_THREADS": "1",
    "ASEPSIS_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def until(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.02)


def below(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with suppress(OSError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] != "Z":
                    found.append(int(place.name))
    return found


def command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its session, each by its own id."""
    for pid in below(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(PATIENCE)
    until(lambda: not below(process.pid))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


class Ray:
    """A cluster: a head, and nodes that join it; each in a session of its own."""

    def __init__(self, folder: Path, *, cpus: int) -> None:
        self.token, self.port = secrets.token_hex(32), free_port()
        self.address, self.folder = f"127.0.0.1:{self.port}", folder
        self.environment = {**ENVIRONMENT, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        words = ["--head", f"--port={self.port}", "--include-dashboard=false"]
        self.nodes = [self._start(cpus, *words, f"--temp-dir={folder}")]
        until(lambda: listening(self.port))

    def _start(self, cpus: int, *words: str) -> subprocess.Popen[bytes]:
        ray = Path(sys.executable).with_name("ray")
        ports = ("--min-worker-port=0", "--max-worker-port=0")
        more = (f"--num-cpus={cpus}", "--object-store-memory=80000000", *ports)
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(
                [str(ray), "start", "--block", "--disable-usage-stats", *more, *words],
                env=self.environment,
                start_new_session=True,
                stdout=said,
                stderr=said,
            )

    def join(self, cpus: int) -> subprocess.Popen[bytes]:
        """Let another node join."""
        self.nodes.append(self._start(cpus, f"--address={self.address}"))
        return self.nodes[-1]

    def players(self) -> list[int]:
        """Return the processes that play a group now."""
        every = [pid for node in self.nodes for pid in below(node.pid)]
        return [pid for pid in every if command(pid).startswith("ray::play")]

    def sweep(self, out: Path, *more: str, token: str | None = None) -> subprocess.Popen[bytes]:
        """Start a sweep on it."""
        environment = {**ENVIRONMENT, "RAY_AUTH_TOKEN": token or self.token}
        return sweep(out, "--cluster", self.address, *more, environment=environment)


@contextmanager
def cluster(cpus: int = 2) -> Iterator[Ray]:
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    ray = Ray(folder, cpus=cpus)
    try:
        yield ray
    finally:
        for node in reversed(ray.nodes):
            end(node)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(
    out: Path, *more: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    study = out.parent / "small.toml"
    study.write_text(STUDY)
    return subprocess.Popen(
        [sys.executable, "-m", "asepsis.cli.main", "sweep", str(study), "--out", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment or ENVIRONMENT,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    until(lambda: not below(process.pid))
    return process.returncode, out.decode(), err.decode()


def records(out: Path) -> dict[str, list[str]]:
    return {path.name: results_of(read_record(path)) for path in (out / "runs").iterdir()}


def played(out: Path) -> int:
    return sum(len(rounds_of(read_record(path))) for path in (out / "runs").glob("*.jsonl"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    out = tmp_path_factory.mktemp("alone") / "out"
    code, said, err = ended(sweep(out, "--jobs", "2"))
    assert code == 0, err
    assert SAVED in said
    return records(out)


def saved_as_much(said: str) -> bool:
    """Whether a sweep that was stopped, too, reused what it did not play again."""
    found = re.search(r"Rounds before the attack: (\d+) played, (\d+) reused", said)
    return found is not None and int(found[2]) >= 120 and int(found[1]) + int(found[2]) == 240


@pytest.fixture(scope="module")
def ray() -> Iterator[Ray]:
    with cluster() as started:
        yield started


def test_a_cluster_makes_the_records_of_the_pool(
    ray: Ray, tmp_path: Path, alone: dict[str, list[str]]
) -> None:
    code, said, err = ended(ray.sweep(tmp_path / "out"))
    assert code == 0, err
    assert records(tmp_path / "out") == alone
    assert SAVED in said
    assert not list((tmp_path / "out" / "checkpoints").iterdir())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_stopped_there_is_finished_here(
    ray: Ray, tmp_path: Path, alone: dict[str, list[str]], how: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = ray.sweep(out)
    until(lambda: (out / "runs").exists() and played(out) > EARLY)
    process.send_signal(how)
    code, _, err = ended(process)
    assert code != 0
    assert how != signal.SIGINT or (code, "--resume" in err) == (130, True)
    before = played(out)
    until(lambda: not ray.players())
    assert before == played(out)
    code, said, err = ended(sweep(out, "--jobs", "1", "--resume"))
    assert code == 0, err
    assert records(out) == alone
    assert saved_as_much(said)


def test_a_sweep_that_is_stopped_here_is_finished_there(
    ray: Ray, tmp_path: Path, alone: dict[str, list[str]]
) -> None:
    out = tmp_path / "out"
    process = sweep(out, "--jobs", "1")
    until(lambda: (out / "runs").exists() and played(out) > ROUNDS)
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130
    code, said, err = ended(ray.sweep(out, "--resume"))
    assert code == 0, err
    assert records(out) == alone
    assert saved_as_much(said)


def test_a_worker_that_is_killed_loses_nothing(
    ray: Ray, tmp_path: Path, alone: dict[str, list[str]]
) -> None:
    out = tmp_path / "out"
    process = ray.sweep(out)
    for times in (1, 2):
        until(lambda: process.poll() is not None or (played(out) > EARLY and ray.players()))
        for pid in ray.players()[:times]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    code, _, err = ended(process)
    assert code == 0, err
    assert records(out) == alone


def test_a_wrong_token_is_refused_in_one_message(ray: Ray, tmp_path: Path) -> None:
    code, _, err = ended(ray.sweep(tmp_path / "out", token="f" * 64))
    assert code == 2
    assert "the cluster refuses the token" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "study.json").exists()


def test_a_node_that_is_lost_is_replaced(tmp_path: Path, alone: dict[str, list[str]]) -> None:
    out = tmp_path / "out"
    with cluster(cpus=0) as ray:
        first = ray.join(cpus=2)
        process = ray.sweep(out)
        until(lambda: (out / "runs").exists() and played(out) > EARLY)
        end(first)
        ray.join(cpus=1)
        code, _, err = ended(process)
    assert code == 0, err
    assert records(out) == alone


def test_a_head_that_is_gone_ends_the_sweep_in_one_message(
    tmp_path: Path, alone: dict[str, list[str]]
) -> None:
    out = tmp_path / "out"
    with cluster() as ray:
        process = ray.sweep(out)
        until(lambda: (out / "runs").exists() and played(out) > EARLY)
        end(ray.nodes[0])
        code, _, err = ended(process)
        assert code == 2
        assert "the cluster was lost" in err
        assert "--resume" in err
        assert "Traceback" not in err
        code, _, err = ended(ray.sweep(out, "--resume"))
        assert "no cluster answers there" in err
    assert ended(sweep(out, "--jobs", "1", "--resume"))[0] == 0
    assert records(out) == alone


def test_what_answers_and_is_no_cluster_is_given_up(tmp_path: Path) -> None:
    """A stale address whose port somebody else has taken: Ray itself would wait for minutes."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        environment = {**ENVIRONMENT, "RAY_AUTH_TOKEN": "a" * 64}
        began = time.monotonic()
        process = sweep(tmp_path / "out", "--cluster", address, environment=environment)
        code, _, err = ended(process)
    assert code == 2
    assert "the cluster does not let us in" in err
    assert time.monotonic() - began < PATIENCE / 2
