"""Flower's command lines: what is started, with which options, in which environment."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.deploy.certificates import NodeFiles, ServerFiles
from asepsis.deploy.texts import string

LOOPBACK = "127.0.0.1"
CONNECTION = "asepsis"
"""What the SuperLink is called in Flower's own configuration."""
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
EAGER = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1"}
"""On one machine nobody minds being asked ten times a second."""


@dataclass(frozen=True)
class Superlink:
    """A SuperLink by its address, and the authority that vouches for it (``None``: no TLS)."""

    address: str
    authority: Path | None

    @property
    def connection(self) -> str:
        """Flower's configuration file with this one connection."""
        lines = [
            "[superlink]",
            f"default = {string(CONNECTION)}",
            f"[superlink.{CONNECTION}]",
            f"address = {string(self.address)}",
        ]
        if self.authority is None:
            lines.append("insecure = true")
        else:
            lines.append(f"root-certificates = {string(str(self.authority))}")
        return "\n".join(lines) + "\n"


def check_address(address: str) -> str:
    """Return ``HOST:PORT`` if it is one.

    Raises:
        ConfigError: it is not.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 1 << 16) or "/" in host:
        raise ConfigError(
            "no address of a SuperLink", place="--superlink", got=address, fix="write HOST:PORT"
        )
    return address


def check_flower() -> None:
    """Refuse to go on without Flower.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec("flwr") is None:
        raise MissingExtraError("flwr", "flower")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of Flower's processes: its state in ``home``, nothing reported."""
    folder = str(Path(sys.executable).parent)  # Flower looks its own commands up by name
    path = os.pathsep.join([folder, *os.environ.get("PATH", "").split(os.pathsep)])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLWR_")}
    return {**kept, **QUIET, "FLWR_HOME": str(home), "PATH": path, "PYTHONUNBUFFERED": "1", **more}


def command(name: str) -> str:
    """Return one of Flower's commands, from beside this Python."""
    return str(Path(sys.executable).parent / name)


def superlink(files: ServerFiles, host: str, port: int, secret: Path) -> list[str]:
    """Start a SuperLink; who runs its apps must know ``secret``."""
    return [
        command("flower-superlink"),
        f"--ssl-ca-certfile={files.authority}",
        f"--ssl-certfile={files.certificate}",
        f"--ssl-keyfile={files.key}",
        "--enable-supernode-auth",
        "--isolation=process",
        f"--superexec-auth-secret-file={secret}",
        f"--host={host}",
        f"--port={port}",
        "--disable-runtime-dependency-installation",
    ]


def server_apps(authority: Path, address: str, secret: Path) -> list[str]:
    """Start what runs the SuperLink's apps."""
    return [
        command("flower-superexec"),
        f"--root-certificates={authority}",
        f"--runtime-api-address={address}",
        f"--superexec-auth-secret-file={secret}",
    ]


def supernode(link: Superlink, node: NodeFiles, config: Path, port: int, secret: Path) -> list[str]:
    """Start one hospital's SuperNode; it listens on loopback, for its own apps alone."""
    return [
        command("flower-supernode"),
        f"--root-certificates={link.authority}",
        f"--auth-supernode-private-key={node.key}",
        f"--superlink={link.address}",
        f"--node-config={config}",
        "--isolation=process",
        f"--superexec-auth-secret-file={secret}",
        f"--host={LOOPBACK}",
        f"--port={port}",
    ]


def client_apps(port: int, secret: Path) -> list[str]:
    """Start what runs a SuperNode's apps."""
    return [
        command("flower-superexec"),
        "--insecure",
        f"--runtime-api-address={LOOPBACK}:{port}",
        f"--superexec-auth-secret-file={secret}",
    ]


def register(public: Path) -> list[str]:
    """Tell the SuperLink a hospital's public key."""
    return [command("flwr"), "supernode", "register", str(public), CONNECTION]


def submit(app: Path, config: Path) -> list[str]:
    """Run an app with settings of its own, and show what its server says."""
    return [command("flwr"), "run", str(app), CONNECTION, "--run-config", str(config), "--stream"]


def stop(run: int) -> list[str]:
    """Stop a run."""
    return [command("flwr"), "stop", str(run), CONNECTION]


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody uses now."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def write_private(path: Path, text: str | bytes) -> Path:
    """Write a file that only its owner reads."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = text.encode() if isinstance(text, str) else text
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)
    return path
