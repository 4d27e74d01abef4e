"""One round of secure aggregation in one process: messages are packed, counted, and unpacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from asepsis.defenses.masking.client import Client
from asepsis.defenses.masking.messages import (
    Advertisement,
    Consent,
    Record,
    Sealed,
    Share,
    Survivor,
    packed,
    unpack_words,
)
from asepsis.defenses.masking.prg import Words
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.server import Server

R = TypeVar("R", bound=Record)
T = TypeVar("T")

Vector = tuple[Words, bytes]
"""A masked vector and its signature, empty where none is asked for."""

ADVERTISE, SHARE, MASK, CONSENT, REVEAL = range(5)
"""The five messages of a hospital, in order."""


@dataclass(slots=True, eq=False)
class Traffic:
    """Bytes that every hospital sent (``up``) and was sent (``down``), and messages in all.

    A message's payload is counted; the model's broadcast, TLS and framing are not.
    """

    up: dict[int, int] = field(default_factory=dict)
    down: dict[int, int] = field(default_factory=dict)
    messages: int = 0

    def sent(self, client: int, size: int) -> None:
        """Count a message to the server."""
        self.up[client] = self.up.get(client, 0) + size
        self.messages += 1

    def received(self, client: int, size: int) -> None:
        """Count a message from the server."""
        self.down[client] = self.down.get(client, 0) + size
        self.messages += 1


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a round came to: a sum of ``survivors``, or why there is none.

    ``masked`` are the vectors as they passed, by hospital, where they were kept.
    """

    total: Words | None
    survivors: tuple[int, ...]
    stopped: str | None
    traffic: Traffic
    masked: Mapping[int, Words] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Session:
    """The wire between a server and hospitals, with hospitals that fall silent.

    ``absent`` maps a hospital to the first of its five messages that it does not send. ``vector``
    returns a hospital's words when it is about to mask them. ``keep``: keep masked vectors as they
    arrived. ``signed``: hospitals sign their masked vectors, and the server drops others, which
    are counted as ``forged``. ``tap`` is somebody on the wire, who gets all masked vectors with
    their signatures, and decides what arrives.
    """

    server: Server
    clients: Mapping[int, Client]
    vector: Callable[[int], Words]
    absent: Mapping[int, int] = field(default_factory=dict)
    keep: bool = False
    signed: bool = False
    tap: Callable[[Mapping[int, Vector]], Mapping[int, Vector]] | None = None
    forged: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    refusals: list[str] = field(default_factory=list)
    _masked: dict[int, Words] = field(default_factory=dict)

    def run(self) -> Result:
        """Play the round."""
        survivors: tuple[int, ...] = ()
        try:
            begun = self.server.roster(self._advertised())
            boxes = self._shared(begun)
            survivors = self._collected(self.server.route(boxes))
            total = self.server.finish(self._revealed(self._consented()))
        except RefusedError as refused:
            # What hospitals refused explains why too few are left.
            reason = self.refusals[0] if self.refusals else str(refused)
            return Result(None, survivors, reason, self.traffic, self._masked)
        return Result(total, survivors, None, self.traffic, self._masked)

    def _advertised(self) -> list[Advertisement]:
        sent = self._each(ADVERTISE, self.clients, lambda client: [client.advertise()])
        return [self._up(client, sent[client], Advertisement)[0] for client in sent]

    def _shared(self, begun: Sequence[Advertisement]) -> dict[int, list[Sealed]]:
        told = packed(begun)
        here = [advertisement.client for advertisement in begun]
        sent = self._each(
            SHARE, here, lambda client: client.share(self._down(client, told, Advertisement))
        )
        return {client: self._up(client, boxes, Sealed) for client, boxes in sent.items()}

    def _collected(self, boxes: Mapping[int, Sequence[Sealed]]) -> tuple[int, ...]:
        def masked(client: Client) -> Vector:
            handed = self._down(client, packed(boxes[client.me]), Sealed)
            words = client.mask(handed, self.vector(client.me))
            signature = client.signature(words) if self.signed else b""
            # The words in memory are the message: little-endian, as they would be sent.
            sent = words.data.cast("B")
            self.traffic.sent(client.me, len(sent) + len(signature))
            arrived = unpack_words(sent, self.server.terms.words, self.server.terms.dtype)
            return arrived, signature

        def collected(client: Client) -> None:
            self._collect(client.me, *masked(client))

        if self.tap is None:
            return tuple(self._each(MASK, boxes, collected))
        vectors = self._each(MASK, boxes, masked)
        arrived = self.tap(vectors) if vectors else {}
        return tuple(
            self._each(MASK, arrived, lambda client: self._collect(client.me, *arrived[client.me]))
        )

    def _collect(self, client: int, words: Words, signature: bytes) -> None:
        if self.keep:
            self._masked[client] = words
        if self.signed:
            try:
                self.server.check_masked(client, words, signature)
            except RefusedError:
                self.forged += 1
                raise
        self.server.collect(client, words)

    def _consented(self) -> list[Consent]:
        named = self.server.survivors()
        told = packed(named)

        def consented(client: Client) -> list[Consent]:
            survivors = [record.client for record in self._down(client, told, Survivor)]
            return [client.consent(survivors)]

        sent = self._each(CONSENT, [record.client for record in named], consented)
        return [self._up(client, sent[client], Consent)[0] for client in sent]

    def _revealed(self, consents: Sequence[Consent]) -> dict[int, list[Share]]:
        told = packed(self.server.consents(consents))
        here = [consent.client for consent in consents]
        sent = self._each(
            REVEAL, here, lambda client: client.reveal(self._down(client, told, Consent))
        )
        return {client: self._up(client, shares, Share) for client, shares in sent.items()}

    def _each(
        self, step: int, here: Sequence[int] | Mapping[int, object], act: Callable[[Client], T]
    ) -> dict[int, T]:
        """Let the hospitals that are still there act; one that refuses is gone."""
        made = {}
        for client in here:
            if self.absent.get(client, REVEAL + 1) <= step:
                continue
            try:
                made[client] = act(self.clients[client])
            except RefusedError as refused:
                self.refusals.append(str(refused))
        return made

    def _up(self, client: int, records: Sequence[Record], cls: type[R]) -> list[R]:
        data = packed(records)
        self.traffic.sent(client, len(data))
        return cls.unpack(data, len(self.clients))

    def _down(self, client: Client, data: bytes, cls: type[R]) -> list[R]:
        self.traffic.received(client.me, len(data))
        return cls.unpack(data, len(self.clients))
