"""Hospitals that are processes of their own: what they are asked for, and what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

from asepsis.core.channel import Apart, Waiting
from asepsis.core.contracts import TrainAttack, UpdateAttack
from asepsis.core.engine import Engine, Job
from asepsis.core.errors import ConfigError
from asepsis.core.threat import Role, Sees
from asepsis.core.updates import Reply, State
from asepsis.federation.federation import Federation, part_of, with_part

DELIVERS = ("plain", "secure-aggregation")
"""The channels that are played between processes."""
MIND = "mind/"
"""What a hostile hospital that is apart remembers, among what it keeps."""


@runtime_checkable
class Remote(Protocol):
    """An engine whose hospitals are processes of their own.

    ``apart`` is there where hospitals keep their updates until the channel asks for them: replies
    to :meth:`asepsis.core.engine.Engine.train` then have empty rows. ``lost`` says of the last
    call who did not answer, or not as asked, and why. ``quorum`` is the share of a round's
    hospitals that must answer.
    """

    quorum: float

    def host(self, federation: Federation) -> None:
        """Take the federation; called once, before :meth:`asepsis.core.engine.Engine.start`."""
        ...

    @property
    def apart(self) -> Apart | None:
        """Hospitals that mask their updates themselves, where the channel does that."""
        ...

    @property
    def lost(self) -> Mapping[int, str]:
        """Who did not answer as asked in the last call, and why."""
        ...


def lost_by(engine: Engine) -> dict[int, str]:
    """Return who was lost in an engine's last call; nobody is, in one process."""
    return dict(engine.lost) if isinstance(engine, Remote) else {}


def too_few(engine: Engine, answered: int, asked: int) -> str | None:
    """Say why a round is void for want of answers, where it is."""
    if not isinstance(engine, Remote) or answered >= engine.quorum * asked:
        return None
    return f"{answered} of {asked} hospitals answered, and the quorum is {engine.quorum:.0%}"


def waiting(federation: Federation, replies: list[Reply]) -> Waiting:
    """Return the form of updates that wait at their hospitals: the telemetry that all of them have.

    It is what :func:`asepsis.core.updates.individual` makes of updates that are here.
    """
    names = set.intersection(*(set(reply.side) for reply in replies))
    clients = tuple(reply.client for reply in replies)
    return Waiting(clients, federation.plan.layout.dim, tuple(sorted(names)))


def with_minds(jobs: list[Job], minds: State, hostile: tuple[int, ...]) -> list[Job]:
    """Hand hostile hospitals that are apart what each remembers, among what it keeps."""

    def remembering(job: Job) -> Job:
        mind = {f"{MIND}{name}": value for name, value in part_of(minds, job.client).items()}
        return replace(job, home={**job.home, **mind})

    return [remembering(job) if job.client in hostile else job for job in jobs]


def without_minds(
    replies: list[Reply], minds: State, hostile: tuple[int, ...]
) -> tuple[list[Reply], State]:
    """Return replies without what hostile hospitals remember, and the state of the attack.

    Of hospitals that keep it for themselves nothing is known.
    """
    made = []
    for reply in replies:
        mind = {k.removeprefix(MIND): v for k, v in reply.home.items() if k.startswith(MIND)}
        home = {k: v for k, v in reply.home.items() if not k.startswith(MIND)}
        if reply.client in hostile:
            minds = with_part(minds, reply.client, mind)
        made.append(replace(reply, home=home))
    return made, minds


def check_remote(federation: Federation) -> None:
    """Refuse what cannot be played between processes.

    Raises:
        ConfigError: naming what, and what would do.
    """
    name = federation.pipeline.name_of(federation.pipeline.transport)
    if name not in DELIVERS:
        raise ConfigError(
            f"{name} is played in one process only",
            place="engine flower",
            got=name,
            fix=f"use {' or '.join(DELIVERS)}, or another engine",
        )
    if getattr(federation.pipeline.transport, "apart", False):
        _check_apart(federation)


def _check_apart(federation: Federation) -> None:
    """Where masks are made elsewhere, nobody but a hospital itself has its row."""
    threat, attack = federation.threat, federation.attack
    why = None
    if isinstance(attack, TrainAttack | UpdateAttack) and threat.sees is not Sees.OWN:
        why = f'sees = "{threat.sees}": set sees = "own"'
    elif threat.knows_defense:
        why = "knows_defense = true: the stack in use is the server's"
    elif threat.telemetry == "mimic":
        why = 'telemetry = "mimic": set telemetry = "own"'
    elif threat.role is Role.SERVER and threat.clients:
        why = "hospitals in league with the server: their rows never reach it"
    elif attack is not None and hasattr(attack, "tamper") and threat.role is Role.SERVER:
        why = "a server that tampers with what it sends"
    if why:
        raise ConfigError(
            "hospitals mask their updates in processes of their own, where only attacks exist "
            "that see no other hospital",
            place="engine flower",
            got=why,
            fix="or use an engine of one process",
        )
