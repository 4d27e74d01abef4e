"""A SuperLink and SuperNodes for tests of the wire: on loopback through proxies, or elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wires import Wires, wires

from asepsis.deploy import flower
from asepsis.deploy.certificates import make_server
from asepsis.deploy.processes import Processes, processes
from asepsis.deploy.texts import SAID, site

PLAIN = Path(__file__).with_name("plain_app")
LINK = "superlink"


@dataclass
class Federation:
    """What is up, and where the app leaves what it did."""

    kept: Processes
    wires: Wires
    env: dict[str, str]
    out: Path
    count: int

    def run(self, **config: Any) -> None:
        """Start the plain app."""
        values = {"out": str(self.out), "nodes": self.count, **config}
        self.out.mkdir(exist_ok=True)
        settings = flower.write_private(self.kept.folder / "run.toml", _settings(values))
        argv = [*self.wires.at_server(), *_submit(PLAIN, settings)]
        self.kept.start("run", argv, self.env)

    def play(self, app: Path, results: Path) -> None:
        """Start an app of asepsis's own; what its server says is in ``told``."""
        table = _settings({"results": str(results), "resume": False})
        settings = flower.write_private(self.kept.folder / "run.toml", table)
        self.kept.start("run", [*self.wires.at_server(), *_submit(app, settings)], self.env)

    def told(self, *, until: str, seconds: float) -> list[str]:
        """Wait until the app's server says something, or ends; return all it said."""
        end = time.monotonic() + seconds
        while True:
            text = self.kept.log("run").read_text(errors="replace")
            said = [line.partition(SAID)[2] for line in text.splitlines() if SAID in line]
            if any(until in line or line == "end" or line.startswith("error") for line in said):
                return said
            assert time.monotonic() < end, self.said()
            self.kept.wait(0.2)

    def rounds(self) -> list[dict[str, Any]]:
        place = self.out / "rounds.jsonl"
        return (
            [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
        )

    def until(self, rounds: int, seconds: float) -> None:
        """Wait until so many rounds are over."""
        end = time.monotonic() + seconds
        while len(self.rounds()) < rounds and not self.over:
            assert time.monotonic() < end, self.said()
            self.kept.wait(0.2)

    @property
    def over(self) -> bool:
        return (self.out / "finished").exists() or (self.out / "stopped").exists()

    def finish(self, seconds: float) -> str:
        """Wait for the end; return why the run stopped, or nothing if it went through."""
        end = time.monotonic() + seconds
        while not self.over:
            assert time.monotonic() < end, self.said()
            self.kept.wait(0.2)
        stopped = self.out / "stopped"
        return stopped.read_text() if stopped.exists() else ""

    def said(self) -> str:
        return "\n".join(f"{log.name}\n{log.read_text()}" for log in self.kept.folder.glob("*.log"))


def _settings(table: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())


def _submit(app: Path, settings: Path) -> list[str]:
    run = [flower.command("flwr"), "run", str(app), flower.CONNECTION]
    return [*run, "--run-config", str(settings), "--stream"]


@contextmanager
def federation(
    count: int, out: Path, *, tls: bool, namespaces: bool = False
) -> Iterator[Federation]:
    """A SuperLink and SuperNodes: in namespaces where that is allowed, else behind proxies."""
    with ExitStack() as stack:
        kept = stack.enter_context(processes())
        port, *own = flower.free_ports(count + 1)
        lines = stack.enter_context(wires(count, port, namespaces=namespaces))
        env = _link(kept, lines, port, tls=tls)
        _wait_for(kept, lines, port)
        for number in range(count):
            _node(kept, lines, number, count, own[number], tls=tls)
        yield Federation(kept, lines, env, out, count)


def _link(kept: Processes, lines: Wires, port: int, *, tls: bool) -> dict[str, str]:
    home, authority, safety = kept.folder / "flwr", None, ["--insecure"]
    if tls:
        files = make_server(kept.folder / "keys", [lines.host, "localhost"])
        authority = files.authority
        safety = [
            f"--ssl-ca-certfile={files.authority}",
            f"--ssl-certfile={files.certificate}",
            f"--ssl-keyfile={files.key}",
        ]
    superlink = flower.Superlink(f"{lines.host}:{port}", authority)
    flower.write_private(home / "config.toml", superlink.connection)
    env = flower.environment(home, **flower.EAGER)
    argv = [
        *lines.at_server(),
        flower.command("flower-superlink"),
        *safety,
        f"--host={lines.host}",
        f"--port={port}",
        "--disable-runtime-dependency-installation",
    ]
    kept.start(LINK, argv, env)
    return env


def _node(kept: Processes, lines: Wires, number: int, count: int, own: int, *, tls: bool) -> None:
    safety = f"--root-certificates={kept.folder / 'keys' / 'ca.crt'}" if tls else "--insecure"
    home = kept.folder / f"node-{number}"
    config = flower.write_private(home / "site.toml", site(number, count))
    argv = [
        *lines.at_hospital(number),
        flower.command("flower-supernode"),
        safety,
        f"--superlink={lines.address(number)}",
        f"--node-config={config}",
        f"--host={flower.LOOPBACK}",
        f"--port={own}",
    ]
    env = flower.environment(home, **flower.EAGER)
    kept.start(f"node-{number}", argv, env)


def _wait_for(kept: Processes, lines: Wires, port: int, seconds: float = 60.0) -> None:
    """Wait until the SuperLink listens."""
    end = time.monotonic() + seconds
    knock = f"import socket; socket.create_connection(({lines.host!r}, {port}), timeout=1)"
    argv = [*lines.at_server(), sys.executable, "-c", knock]
    while subprocess.run(argv, capture_output=True, check=False, timeout=30).returncode:
        assert time.monotonic() < end, kept.tail(LINK)
        kept.wait(0.1)
