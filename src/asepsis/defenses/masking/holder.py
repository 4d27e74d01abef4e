"""A hospital's end in a process of its own: its update waits there, and leaves masked."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from asepsis.core.blocks import array
from asepsis.core.errors import ConfigError
from asepsis.defenses.masking.carrying import count_of
from asepsis.defenses.masking.client import Client
from asepsis.defenses.masking.graph import Graph
from asepsis.defenses.masking.home import ADVERTISE, Sent, answer
from asepsis.defenses.masking.invitation import Invitation
from asepsis.defenses.masking.keys import SEED, Identity, Secrets
from asepsis.defenses.masking.prg import Words
from asepsis.defenses.masking.quantize import Grid, vector_length
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.terms import Terms

Memory = dict[str, bytes]
"""What a hospital remembers between two messages of a round: bytes, and all of them secret."""
STOPPED: Memory = {"step": b""}
"""What a hospital remembers of a round once it has refused: it does not go on."""


class Masking(Protocol):
    """The channel as it is configured on the hospital's own side."""

    @property
    def weighted(self) -> bool:
        """Whether rows are weighed by their hospitals' counts."""
        ...

    @property
    def bind_broadcast(self) -> bool:
        """Whether masks cover the hash of the model that was received."""
        ...

    @property
    def signed(self) -> bool:
        """Whether masked vectors are signed."""
        ...

    def check_cohort(self, n: int) -> None:
        """Refuse a cohort that the protocol protects too little."""
        ...

    def shape_of(self, n: int) -> Graph:
        """Return who masks with whom."""
        ...

    def grid(self, n: int) -> Grid:
        """Return the fixed-point grid."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Holder:
    """One hospital in one round: ``row`` ``[d]`` and ``side`` are what it would send.

    ``identity`` are the 32 secret bytes of its registered key, ``received`` SHA-256 of the model
    that it trained from, ``known`` the keys of others that it has seen before, ``cohort`` whom the
    protocol draws in this round, as this hospital works it out itself. The seeds of a round come
    from its operating system.
    """

    channel: Masking
    me: int
    identity: bytes
    round: int
    received: bytes
    row: Tensor
    side: Mapping[str, float]
    weight: float
    known: Mapping[int, bytes]
    cohort: frozenset[int]

    def turn(self, step: int, told: bytes, memory: Memory) -> tuple[Sent, Memory]:
        """Return the message of a step, and what to remember until the next.

        Raises:
            RefusedError: it does not go on, and remembers :data:`STOPPED` from now on.
        """
        most = len(self.cohort)
        if step == ADVERTISE:
            if memory:
                raise RefusedError("a second round of masks over one update")
            memory = {"invitation": told, "seed": secrets.token_bytes(SEED)}
        elif not memory:
            raise RefusedError("a step of a round that has not begun here", got=step)
        elif not memory["step"]:
            raise RefusedError("this hospital has stopped", got=step)
        invited = Invitation.unpack(memory["invitation"], most)
        client = Client(
            self._terms(invited),
            self.me,
            Identity(self.identity),
            Secrets(memory["seed"]),
            self.received,
        )
        if step != ADVERTISE:
            client.take_up(memory)
        grid = self.channel.grid(len(invited.registry))
        sent = answer(
            client, step, told, most, lambda: self._words(grid, invited), self.channel.signed
        )
        return sent, {**memory, **client.saved()}

    def _terms(self, invited: Invitation) -> Terms:
        """Work out the terms from this side's own options: a server cannot ask for weaker ones.

        A smaller cohort would be weaker, and one of hospitals that nobody knows worse.
        """
        cohort = invited.registry
        if cohort.keys() != self.cohort:
            raise RefusedError("the server invites other hospitals than the protocol draws")
        if cohort.get(self.me) != Identity(self.identity).public:
            raise RefusedError("the server registers another key for this hospital")
        changed = [one for one, key in cohort.items() if self.known.get(one, key) != key]
        if changed:
            raise RefusedError("the server changed a hospital's registered key", got=changed[0])
        try:
            self.channel.check_cohort(len(cohort))
        except ConfigError as error:
            raise RefusedError(str(error)) from None
        grid = self.channel.grid(len(cohort))
        return Terms(
            round=self.round,
            registry=cohort,
            graph=self.channel.shape_of(len(cohort)),
            words=vector_length(len(self.row), len(invited.names)),
            bits=grid.modulus_bits,
            bind_broadcast=self.channel.bind_broadcast,
            session=invited.session,
        )

    def _words(self, grid: Grid, invited: Invitation) -> Words:
        if not set(invited.names) <= self.side.keys() or sorted(set(invited.names)) != [
            *invited.names
        ]:
            raise RefusedError("other telemetry than this hospital has", got=invited.names)
        count = count_of(self.weight if self.channel.weighted else 1.0, grid)
        telemetry = [float(self.side[name]) for name in invited.names]
        words, _ = grid.encode(array(self.row.detach().cpu()), count, telemetry)
        return words


def registry_in(memory: Memory, most: int) -> Mapping[int, bytes]:
    """Return the registered keys that a hospital was told of in a round."""
    return Invitation.unpack(memory["invitation"], most).registry
