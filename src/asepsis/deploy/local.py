"""A rehearsal: SuperLink and SuperNodes on loopback, with TLS and node authentication.

Everything is started through a keeper, by process id, and is gone at the end, whatever happens.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asepsis.core.errors import AsepsisError
from asepsis.deploy import flower
from asepsis.deploy.app import App
from asepsis.deploy.certificates import NodeFiles, make_node, make_server
from asepsis.deploy.processes import ProcessError, Processes, processes
from asepsis.deploy.texts import SAID, Settings, site

LINK, LINK_APPS, RUN = "superlink", "superlink-apps", "run"
STARTING = 60.0
REGISTERING = 120.0
STARTED = "Successfully started run"

Teller = Callable[[str], None]


@dataclass(frozen=True)
class Local:
    """A federation on this machine that is up."""

    kept: Processes
    link: flower.Superlink
    env: dict[str, str]
    nodes: tuple[NodeFiles, ...]

    def play(self, app: App, settings: Settings, tell: Teller) -> None:
        """Run an app to its end.

        Raises:
            AsepsisError: the app refused or failed, or a process of the federation died.
        """
        config = flower.write_private(self.kept.folder / "run.toml", settings.toml())
        self.kept.start(RUN, flower.submit(app.folder.resolve(), config), self.env)
        follow(self.kept, RUN, tell)


def follow(kept: Processes, name: str, tell: Teller) -> None:
    """Pass on what the server's app says until it ends.

    Raises:
        AsepsisError: it said what is wrong, ended without an end, or another process died.
    """
    told, ended, problem = 0, False, ""
    while True:
        over = name in kept.ended
        lines = _said(kept.log(name))
        for line in lines[told:]:
            if line.startswith("error: "):
                problem = line.removeprefix("error: ")
            elif line == "end":
                ended = True
            else:
                tell(line)
        told = len(lines)
        if problem:
            raise AsepsisError(problem)
        if ended:
            return
        kept.check(except_for=name)
        if over:
            begun = STARTED in kept.log(name).read_text(errors="replace")
            what = "the run ended without an end" if begun else "the SuperLink did not take the app"
            raise ProcessError(f"{what}\n{kept.tail(name)}")
        kept.wait(0.3)


def _said(log: Path) -> list[str]:
    if not log.exists():
        return []
    whole = log.read_text(errors="replace").rpartition("\n")[0]
    return [line.partition(SAID)[2] for line in whole.splitlines() if SAID in line]


@contextmanager
def local(sites: int, tell: Teller) -> Iterator[Local]:
    """Bring a federation of so many hospitals up on this machine; at the end nothing is left.

    Raises:
        ProcessError: something could not be started.
    """
    flower.check_flower()
    began = time.monotonic()
    with processes() as kept:
        port, *node_ports = flower.free_ports(sites + 1)
        made = _link(kept, port)
        nodes = tuple(make_node(kept.folder / "keys", f"hospital-{k}") for k in range(sites))
        up = Local(kept, *made, nodes)
        _register(up)
        for number, node_port in enumerate(node_ports):
            _node(up, number, node_port)
        for number, node_port in enumerate(node_ports):
            _reachable(kept, _name(number), node_port)
        tell(f"{sites} hospitals and their server are up after {time.monotonic() - began:.0f} s")
        yield up


def _link(kept: Processes, port: int) -> tuple[flower.Superlink, dict[str, str]]:
    files = make_server(kept.folder / "keys", [flower.LOOPBACK, "localhost"])
    link = flower.Superlink(f"{flower.LOOPBACK}:{port}", files.authority)
    home = kept.folder / "flwr"
    flower.write_private(home / "config.toml", link.connection)
    env = flower.environment(home, **flower.EAGER)
    secret = _secret(kept, LINK)
    kept.lasting |= {LINK, LINK_APPS}
    kept.start(LINK, flower.superlink(files, flower.LOOPBACK, port, secret), env)
    _reachable(kept, LINK, port)
    kept.start(LINK_APPS, flower.server_apps(files.authority, link.address, secret), _here(env))
    return link, env


def _register(up: Local) -> None:
    names = []
    for node in up.nodes:
        names.append(f"register-{node.name}")
        up.kept.start(names[-1], flower.register(node.public), up.env)
    for name in names:
        up.kept.finish(name, REGISTERING)
    up.kept.check()


def _name(number: int) -> str:
    return f"supernode-{number}"


def _node(up: Local, number: int, port: int) -> None:
    kept, name = up.kept, _name(number)
    home = kept.folder / name
    env = flower.environment(home, **flower.EAGER)
    config = flower.write_private(home / "site.toml", site(number, len(up.nodes), _data()))
    secret = _secret(kept, name)
    kept.lasting |= {name, f"{name}-apps"}
    kept.start(name, flower.supernode(up.link, up.nodes[number], config, port, secret), env)
    kept.start(f"{name}-apps", flower.client_apps(port, secret), _here(env))


def _secret(kept: Processes, name: str) -> Path:
    return flower.write_private(kept.folder / "keys" / f"{name}.secret", secrets.token_bytes(32))


def _here(env: dict[str, str]) -> dict[str, str]:
    """Return an environment for what loads data: relative places are seen from here."""
    data = _data()
    return env if data is None else {**env, "ASEPSIS_DATA": str(data)}


def _data() -> Path | None:
    text = os.environ.get("ASEPSIS_DATA")
    return Path(text).expanduser().resolve() if text else None


def _reachable(kept: Processes, name: str, port: int) -> None:
    """Wait until a process listens.

    Raises:
        ProcessError: it died, or does not listen in time.
    """
    until = time.monotonic() + STARTING
    while time.monotonic() < until:
        kept.check()
        try:
            socket.create_connection((flower.LOOPBACK, port), timeout=1).close()
        except OSError:
            kept.wait(0.1)
        else:
            return
    raise ProcessError(f"{name} does not listen after {STARTING:.0f} s\n{kept.tail(name)}")
