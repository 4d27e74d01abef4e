"""Whatever happens to who started them, kept processes end, with all below them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asepsis.deploy.processes import ProcessError, processes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and prctl"),
]
ENV = dict(os.environ)
# A grandchild that left its parent's session, ignores SIGTERM, and outlives its parent.
STUBBORN = "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $! > {}; sleep 600"
LAUNCHER = """
import sys, time
from asepsis.deploy.processes import processes
with processes() as kept:
    kept.start("one", ["sh", "-c", sys.argv[1]], {"PATH": "/usr/bin:/bin"})
    print(kept.folder, kept.keeper.pid, kept.running["one"], flush=True)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def soon(true: Callable[[], bool], seconds: float = 12.0) -> bool:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def grandchild(path: Path) -> int:
    assert soon(lambda: path.exists() and bool(path.read_text().strip()))
    return int(path.read_text())


def launched(note: Path) -> tuple[subprocess.Popen[str], Path, int, list[int]]:
    """Start a launcher; return it, its folder, its keeper, and the processes kept."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, STUBBORN.format(note)], stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None
    folder, keeper, child = launcher.stdout.readline().split()
    launcher.stdout.close()
    return launcher, Path(folder), int(keeper), [int(child), grandchild(note)]


def test_leaving_ends_even_what_left_its_session_and_ignores_sigterm(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with processes() as kept:
        child = kept.start("one", ["sh", "-c", STUBBORN.format(note)], ENV)
        pids = [child, grandchild(note), kept.keeper.pid]
        folder = kept.folder
        assert folder.stat().st_mode & 0o777 == 0o700
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killing_the_launcher_leaves_nothing(tmp_path: Path, number: int) -> None:
    launcher, folder, keeper, pids = launched(tmp_path / "pid")
    assert all(alive(pid) for pid in [*pids, keeper])
    launcher.send_signal(number)
    launcher.wait(20)
    assert soon(lambda: not any(alive(pid) for pid in [*pids, keeper]))
    assert soon(lambda: not folder.exists())


def test_killing_the_keeper_kills_what_it_started_and_is_said(tmp_path: Path) -> None:
    with processes() as kept:
        child = kept.start("one", ["sleep", "600"], ENV)
        os.kill(kept.keeper.pid, signal.SIGKILL)
        assert soon(lambda: not alive(child))
        with pytest.raises(ProcessError, match="the process that keeps the others was killed"):
            kept.wait(5)
        folder = kept.folder
    assert not folder.exists()


def test_telling_the_keeper_to_end_ends_all(tmp_path: Path) -> None:
    launcher, folder, keeper, pids = launched(tmp_path / "pid")
    os.kill(keeper, signal.SIGTERM)
    assert soon(lambda: not any(alive(pid) for pid in [*pids, keeper]))
    launcher.kill()
    launcher.wait(10)
    assert soon(lambda: not folder.exists())


def test_who_ends_is_said_with_its_last_words() -> None:
    with processes() as kept:
        kept.lasting.add("link")
        kept.start("link", ["sh", "-c", "echo the port is taken; exit 3"], ENV)
        while "link" not in kept.ended:
            kept.wait(0.1)
        with pytest.raises(ProcessError, match=r"(?s)link ended: exit code 3.*the port is taken"):
            kept.check()


def test_what_is_not_there_cannot_be_started() -> None:
    with processes() as kept, pytest.raises(ProcessError, match=r"no-such: .*cannot be started"):
        kept.start("no-such", ["/no/such/command"], ENV)
