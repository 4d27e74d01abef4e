"""A sweep on the user's own Ray cluster: groups of runs go out as bytes, and come back as files.

This process never speaks to Ray itself: a child does (:mod:`asepsis.experiments.cluster_bridge`),
so that a cluster that hangs, or takes its driver down with it, ends in one message. Nodes have a
temporary folder each; only this process writes to the results, and what a node sends is read as
JSON and plain files. What Ray itself moves between its members is pickled: who can send to a Ray
cluster can run code on all of it, and a cluster must be trusted as a whole.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asepsis.core.errors import AsepsisError, ConfigError, MissingExtraError
from asepsis.core.trust import trusted
from asepsis.engines import NUMERICS
from asepsis.experiments.cells import Listener, Progress, fail_cell
from asepsis.experiments.cluster_child import Bridge, BridgeGone
from asepsis.experiments.identity import identity
from asepsis.experiments.parcel import Parcel, deliver, files_of
from asepsis.experiments.plan import Cell
from asepsis.experiments.resolve import hospitals_of
from asepsis.experiments.run import RunOptions
from asepsis.experiments.store import Store, footer_of, read_record
from asepsis.experiments.trace import trace_name
from asepsis.experiments.version import code_version, packages

PLACE = "--cluster"
PATIENCE = 30.0
"""Seconds that a cluster has for every step of letting us in."""
LOSSES = 3
"""So often may a group be lost without a round played in between, before it counts as failed."""
HOST_PORT = re.compile(r"(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})", re.ASCII)


@dataclass(frozen=True)
class Cluster:
    """Where a Ray cluster is; ``open`` says that it is known to ask nobody for a token."""

    host: str
    port: int
    token: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """The address as Ray takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine, and reached from this machine only."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def cluster_at(
    address: str, *, without_token: bool = False, environment: Mapping[str, str] | None = None
) -> Cluster:
    """Read a cluster's address, and find the token that opens it.

    The token is looked for where Ray looks: ``RAY_AUTH_TOKEN``, the file ``RAY_AUTH_TOKEN_PATH``,
    ``~/.ray/auth_token``.

    Raises:
        ConfigError: no address, or no token, although the cluster is not on this machine or
            nobody said that it has none.
        MissingExtraError: Ray is not installed.
    """
    found = HOST_PORT.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 1 << 16:
        raise ConfigError(
            "no address of a Ray cluster that runs",
            place=PLACE,
            got=address,
            fix="write HOST:PORT of its head, from a machine of the cluster; start it yourself "
            "with ray start --head",
        )
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("ray", "ray")
    token = _token(os.environ if environment is None else environment)
    cluster = Cluster(found["host"].strip("[]"), int(found["port"]), "" if without_token else token)
    if not cluster.token and not (without_token and cluster.loopback):
        raise ConfigError(
            "a cluster without a token runs the code of whoever finds it",
            place=PLACE,
            got="--cluster-without-token, not on loopback" if without_token else "no token",
            fix="start it with RAY_AUTH_MODE=token, and give its token in RAY_AUTH_TOKEN, in a "
            "file that RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token (for a cluster on "
            "loopback that has none: --cluster-without-token)",
        )
    return cluster


def _token(environment: Mapping[str, str]) -> str:
    if told := environment.get("RAY_AUTH_TOKEN", "").strip():
        return told
    named = environment.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        with path.open("rb") as file:
            return file.read(4096).decode().strip()
    except (OSError, UnicodeDecodeError):
        if named:
            raise ConfigError(
                "the token cannot be read", place="RAY_AUTH_TOKEN_PATH", got=named
            ) from None
        return ""


@contextmanager
def joined(cluster: Cluster | None) -> Iterator[Bridge | None]:
    """Be in a cluster, if there is one.

    Raises:
        ConfigError: the cluster does not let us in.
        AsepsisError: the cluster was lost on the way.
    """
    if cluster is None:
        yield None
        return
    bridge = enter(cluster)
    try:
        yield bridge
    except BridgeGone as gone:
        raise AsepsisError(
            "the cluster was lost" + (f" ({gone.last})" if gone.last else ""),
            place=PLACE,
            got=cluster.address,
            fix="what it sent is kept; go on with --resume, there or elsewhere",
        ) from None
    finally:
        bridge.close()


def enter(cluster: Cluster, patience: float = PATIENCE) -> Bridge:
    """Let a child process join a cluster, after it was seen to refuse a wrong token.

    Raises:
        ConfigError: nobody answers, the token is wrong, or the cluster lets everybody in.
    """
    _reachable(cluster)
    if cluster.token and not cluster.loopback and _lets_in(cluster, patience):
        raise ConfigError(
            "the cluster lets everybody in, whatever their token",
            place=PLACE,
            got=cluster.address,
            fix="start all of it with RAY_AUTH_MODE=token",
        )
    bridge = Bridge(cluster.address, cluster.token)
    try:
        bridge.ready(patience)
    except BridgeGone as gone:
        bridge.close()
        raise _not_let_in(cluster, gone, patience) from None
    except BaseException:
        bridge.close()
        raise
    return bridge


def _reachable(cluster: Cluster) -> None:
    try:
        socket.create_connection((cluster.host, cluster.port), timeout=5).close()
    except OSError as error:
        raise ConfigError(
            f"no cluster answers there ({error.strerror or error})",
            place=PLACE,
            got=cluster.address,
            fix="is its head still running? asepsis starts and stops no cluster",
        ) from None


def _lets_in(cluster: Cluster, patience: float) -> bool:
    bridge = Bridge(cluster.address, os.urandom(32).hex())
    try:
        bridge.ready(patience)
    except BridgeGone:
        return False
    finally:
        bridge.close()
    return True


def _not_let_in(cluster: Cluster, gone: BridgeGone, patience: float) -> ConfigError:
    if gone.refused:
        return ConfigError(
            "the cluster refuses the token",
            place=PLACE,
            got=cluster.address,
            fix="take the token that it was started with (RAY_AUTH_TOKEN)",
        )
    words = gone.last or f"no answer in {patience:.0f} s"
    return ConfigError(
        f"the cluster does not let us in ({words})",
        place=PLACE,
        got=cluster.address,
        fix="run asepsis on a machine of the cluster, with the same Ray and Python",
    )


def on_cluster(
    groups: list[list[Cell]],
    store: Store,
    options: RunOptions,
    listener: Listener,
    bridge: Bridge,
) -> None:
    """Run groups of cells as tasks of a Ray cluster.

    Raises:
        ConfigError: a node runs other code or has other data.
        StoreError: the results folder cannot be written any more; ``resume`` goes on.
        BridgeGone: the cluster was lost; ``resume`` goes on.
    """
    _Sweep(groups, store, options, listener, bridge).play()


def names_of(cell: Cell, engine: str) -> set[str]:
    """Return what the files of a run are called: its own name, its prefix's and its trace's."""
    numerics = NUMERICS[engine]
    prefix = f"{cell.spec.prefix()}-{numerics}"
    return {identity(cell.spec, engine), prefix, trace_name(cell.spec, numerics)}


class _Sweep:
    """Groups that wait, and groups that are out; a group that is lost goes out again."""

    def __init__(
        self,
        groups: list[list[Cell]],
        store: Store,
        options: RunOptions,
        listener: Listener,
        bridge: Bridge,
    ) -> None:
        self.groups, self.store, self.options = groups, store, options
        self.listener, self.bridge = listener, bridge
        inner = "serial" if options.engine in ("threads", "pool") else options.engine
        self.engine = inner
        self.names = [set().union(*(names_of(c, inner) for c in group)) for group in groups]
        self.waiting = deque(range(len(groups)))
        self.out: dict[int, int] = {}
        """Group to the number of the journey it is on: what an earlier one brings is late."""
        self.journeys = 0
        self.losses = [0] * len(groups)
        self.furthest: dict[tuple[int, int], int] = {}

    def play(self) -> None:
        while self.waiting or self.out:
            while self.waiting and len(self.out) < (self.options.jobs or self.bridge.room):
                self._send(self.waiting.popleft())
            message = self.bridge.receive(0.2)
            if message is not None:
                self._take(message)

    def _send(self, number: int) -> None:
        again = self.options.resume or self.losses[number] > 0
        found = files_of(self.store, self.names[number]) if again else {}
        told = {
            "settings": {
                "engine": self.engine,
                "device": self.options.device,
                "jobs": 1,
                "resume": again,
                "pseudonyms": self.options.pseudonyms,
            },
            "cells": [cell.spec.model_dump(mode="json") for cell in self.groups[number]],
            "digests": [cell.spec.digest() for cell in self.groups[number]],
            "data": hospitals_of(self.groups[number][0].spec)[2],
            "code": code_version(),
            "packages": packages(),
            "trusted": trusted(),
        }
        self.journeys += 1
        self.out[number] = self.journeys
        files: dict[str, bytes | None] = {k: path.read_bytes() for k, path in found.items()}
        self.bridge.submit(self.journeys, Parcel(told, files), gpu=self.options.device != "cpu")

    def _take(self, parcel: Parcel) -> None:
        journey = parcel.told.get("journey")
        number = next((key for key, value in self.out.items() if value == journey), None)
        if number is None:
            return
        if parcel.told["kind"] == "lost":
            self._lost(number, str(parcel.told["message"]))
        elif parcel.told["kind"] == "refused":
            raise ConfigError(str(parcel.told["message"]), place=PLACE)
        elif parcel.told["kind"] == "ended":
            del self.out[number]
        else:
            deliver(parcel, self.store, self.names[number])
            for kind, cell, round_, message in parcel.told["events"]:
                self._tell(number, str(kind), int(cell), int(round_), str(message))

    def _tell(self, number: int, kind: str, cell: int, round_: int, message: str) -> None:
        if round_ > self.furthest.get((number, cell), 0):
            self.furthest[number, cell] = round_
            self.losses[number] = 0
        self.listener(Progress(kind, self.groups[number][cell], round_, message))

    def _lost(self, number: int, message: str) -> None:
        """Send a group out again, from where its files say that it was; at last, report it."""
        del self.out[number]
        self.losses[number] += 1
        if self.losses[number] < LOSSES:
            self.waiting.append(number)
            return
        for cell in self.groups[number]:
            footer = footer_of(read_record(self.store.record(identity(cell.spec, self.engine))))
            if footer is None or footer["result"]["status"] == "cancelled":
                text = f"lost {LOSSES} times on the cluster: {message}"
                fail_cell(cell, self.store, self.options, text)
                self.listener(Progress("failed", cell, message=text))
