"""A run on a SuperLink that is up already: the same app, submitted there."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path

from asepsis.core.errors import AsepsisError, ConfigError
from asepsis.deploy import flower
from asepsis.deploy.app import App
from asepsis.deploy.local import RUN, STARTED, STARTING, Teller, follow
from asepsis.deploy.processes import Processes, processes
from asepsis.deploy.texts import Settings

NUMBER = re.compile(STARTED + r" (\d+)")
STOP = "stop"


def submit(link: flower.Superlink, app: App, settings: Settings, tell: Teller) -> None:
    """Run an app on a SuperLink to its end.

    A run that is left early is stopped there, too.

    Raises:
        AsepsisError: it cannot be reached, or the app refused or failed.
    """
    flower.check_flower()
    with processes() as kept:
        home = kept.folder / "flwr"
        flower.write_private(home / "config.toml", link.connection)
        env = flower.environment(home)
        config = flower.write_private(kept.folder / "run.toml", settings.toml())
        kept.start(RUN, flower.submit(app.folder.resolve(), config), env)
        over = False
        try:
            follow(kept, RUN, tell)
            over = True
        finally:
            if not over:
                _stop(kept, env)


def _stop(kept: Processes, env: dict[str, str]) -> None:
    """Stop a run that was begun: nobody waits for it any more."""
    with suppress(OSError, AsepsisError):
        found = NUMBER.search(kept.log(RUN).read_text(errors="replace"))
        if found:
            kept.start(STOP, flower.stop(int(found[1])), env)
            kept.finish(STOP, STARTING)


def is_here(address: str) -> bool:
    """Whether an address is one of this machine's own."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_own(family, str(place[0])) for family, _, _, _, place in found)


def _own(family: int, address: str) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as one:
        try:
            one.bind((address, 0))
        except OSError:
            return False
    return True


def connection(address: str, authority: Path | None, *, insecure: bool) -> flower.Superlink:
    """Return how to reach a SuperLink.

    Raises:
        ConfigError: the address is none, or it is not said how the SuperLink is known.
    """
    flower.check_address(address)
    if (authority is None) != insecure:
        raise ConfigError(
            "how the SuperLink is known must be said, once",
            place="--superlink",
            got=address,
            fix="give --root-certificates ca.crt, or --insecure where nothing is to be encrypted",
        )
    if authority is not None and not authority.is_file():
        raise ConfigError(
            "no such file",
            place="--root-certificates",
            got=authority.name,
            fix="name the authority's certificate (ca.crt)",
        )
    return flower.Superlink(address, None if authority is None else authority.resolve())
