"""The server's end of one round of secure aggregation: messages are counted and passed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from asepsis.defenses.masking.home import ADVERTISE, CONSENT, MASK, REVEAL, SHARE, Hospitals, Sent
from asepsis.defenses.masking.messages import (
    Advertisement,
    Consent,
    Sealed,
    Share,
    packed,
    unpack_words,
)
from asepsis.defenses.masking.prg import Words
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.server import Server

S = TypeVar("S", Advertisement, Consent)
T = TypeVar("T")
V = TypeVar("V")

Vector = tuple[Words, bytes]
"""A masked vector and its signature, empty where none is asked for."""

SIGNATURE = 64
"""Bytes of a signature."""


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
    """The server in one round, with hospitals that may fall silent, refuse or send nonsense.

    A message that is none costs its hospital its place, not the round. ``keep``: keep masked
    vectors as they arrived. ``signed``: hospitals sign their masked vectors, and the server drops
    others, which are counted as ``forged``. ``tap`` is somebody on the wire, who gets all masked
    vectors with their signatures, and decides what arrives.
    """

    server: Server
    hospitals: Hospitals
    keep: bool = False
    signed: bool = False
    tap: Callable[[Mapping[int, Vector]], Mapping[int, Vector]] | None = None
    forged: int = 0
    traffic: Traffic = field(default_factory=Traffic)
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
            reason = self.hospitals.refusals[0] if self.hospitals.refusals else str(refused)
            return Result(None, survivors, reason, self.traffic, self._masked)
        return Result(total, survivors, None, self.traffic, self._masked)

    def _advertised(self) -> list[Advertisement]:
        told = dict.fromkeys(self.server.terms.cohort, b"")
        sent = self._asked(ADVERTISE, told, self._one(Advertisement, self.server.check_keys))
        return list(sent.values())

    def _shared(self, begun: Sequence[Advertisement]) -> dict[int, list[Sealed]]:
        told = dict.fromkeys([sent.client for sent in begun], packed(begun))

        def take(client: int, data: Sent) -> list[Sealed]:
            boxes = Sealed.unpack(data, len(self.server.terms.cohort))
            self.server.check_boxes(client, boxes)
            return boxes

        return self._asked(SHARE, told, take)

    def _collected(self, boxes: Mapping[int, Sequence[Sealed]]) -> tuple[int, ...]:
        told = {client: packed(handed) for client, handed in boxes.items()}
        if self.tap is None:
            return tuple(self._asked(MASK, told, self._collect))
        vectors = self._asked(MASK, told, lambda _, data: self._vector(data))
        arrived = self.tap(vectors) if vectors else {}
        return tuple(self._taken(arrived.items(), lambda who, vector: self._take(who, *vector)))

    def _vector(self, data: Sent) -> Vector:
        end = len(data) - SIGNATURE if self.signed else len(data)
        words = memoryview(data)[: max(end, 0)]
        terms = self.server.terms
        signature = bytes(memoryview(data)[max(end, 0) :])
        return unpack_words(words, terms.words, terms.dtype), signature

    def _collect(self, client: int, data: Sent) -> None:
        self._take(client, *self._vector(data))

    def _take(self, client: int, words: Words, signature: bytes) -> None:
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
        told = dict.fromkeys([record.client for record in named], packed(named))
        sent = self._asked(CONSENT, told, self._one(Consent, self.server.check_consent))
        return list(sent.values())

    def _revealed(self, consents: Sequence[Consent]) -> dict[int, list[Share]]:
        data = packed(self.server.consents(consents))
        told = dict.fromkeys([consent.client for consent in consents], data)
        most = len(self.server.terms.cohort)
        return self._asked(REVEAL, told, lambda _, sent: Share.unpack(sent, most))

    def _asked(
        self, step: int, told: Mapping[int, bytes], take: Callable[[int, Sent], T]
    ) -> dict[int, T]:
        """Ask hospitals for a message, and take each as it comes."""
        return self._taken(self._counted(step, told), take)

    def _counted(self, step: int, told: Mapping[int, bytes]) -> Iterator[tuple[int, Sent]]:
        for client, sent in self.hospitals.ask(step, told):
            if step > ADVERTISE:
                self.traffic.received(client, len(told[client]))
            self.traffic.sent(client, len(sent))
            yield client, sent

    def _taken(
        self, messages: Iterable[tuple[int, V]], take: Callable[[int, V], T]
    ) -> dict[int, T]:
        """Take messages one by one; who sent one that is refused is gone."""
        taken = {}
        for client, message in messages:
            try:
                taken[client] = take(client, message)
            except RefusedError as refused:
                self.hospitals.refusals.append(str(refused))
        return taken

    def _one(self, cls: type[S], check: Callable[[S], None]) -> Callable[[int, Sent], S]:
        def take(client: int, data: Sent) -> S:
            records = cls.unpack(data, 1)
            if len(records) != 1 or records[0].client != client:
                raise RefusedError("a hospital speaks for another, or not at all", got=client)
            check(records[0])
            return records[0]

        return take
