"""The example app on Flower's own runtime: a SuperLink and SuperNodes on loopback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("flwr")
pytestmark = pytest.mark.slow

APP = Path(__file__).resolve().parents[2] / "examples" / "flower-app"
BIN = Path(sys.executable).parent
HOSPITALS = 5


class Processes:
    """Starts programs in groups of their own, and ends those groups and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.env = os.environ | {
            "FLWR_HOME": str(folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }

    def start(self, *command: str) -> None:
        log = (self.folder / f"{len(self.started)}.log").open("wb")
        self.started.append(
            subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                env=self.env,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )

    def stop(self) -> None:
        for process in reversed(self.started):
            for how in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, how)
                    process.wait(timeout=5)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    port = free_port()
    home = tmp_path / "home"
    home.mkdir()
    lines = ["[superlink]", 'default = "here"', "[superlink.here]", "insecure = true"]
    connection = "\n".join([*lines, f'address = "127.0.0.1:{port}"'])
    (home / "config.toml").write_text(connection)
    try:
        processes.start(
            "flower-superlink",
            "--insecure",
            "--host=127.0.0.1",
            f"--port={port}",
            "--disable-runtime-dependency-installation",
        )
        time.sleep(3)
        for place in range(HOSPITALS):
            processes.start(
                "flower-supernode",
                "--insecure",
                f"--superlink=127.0.0.1:{port}",
                f"--port={free_port()}",
                f"--node-config=partition-id={place} num-partitions={HOSPITALS}",
            )
        yield processes
    finally:
        processes.stop()


def ran(federation: Processes, settings: str) -> str:
    app = federation.folder / "app"
    shutil.copytree(APP, app, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [str(BIN / "flwr"), "run", str(app), "here", "--stream", "--run-config", settings],
        env=federation.env,
        cwd=federation.folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_example_app_stops_an_attacker_over_the_wire(federation: Processes) -> None:
    said = ran(federation, f"hospitals={HOSPITALS} hostile=1 rounds=2 attack='sign-flip'")
    found = re.search(r"accuracy on the test patients: ([\d.]+)", said)
    assert found is not None, said[-3000:]
    assert float(found[1]) > 0.9
    assert said.count(f"{HOSPITALS} of {HOSPITALS} hospitals sent a usable update") == 2
    assert "trimmed-mean changed" in said
