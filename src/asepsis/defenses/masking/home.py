"""The hospitals' end of the wire: what each is told becomes what it answers, as bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from asepsis.defenses.masking.client import Client
from asepsis.defenses.masking.messages import Advertisement, Consent, Sealed, Survivor, packed
from asepsis.defenses.masking.prg import Words
from asepsis.defenses.masking.refused import RefusedError

ADVERTISE, SHARE, MASK, CONSENT, REVEAL = range(5)
"""The five messages of a hospital, in order."""

Sent = bytes | memoryview


class Hospitals(Protocol):
    """Hospitals that can be asked for their next message, in this process or in others.

    ``refusals`` are the reasons of those who would not answer, as far as they are known.
    """

    refusals: list[str]

    def ask(self, step: int, told: Mapping[int, bytes]) -> Iterator[tuple[int, Sent]]:
        """Tell each hospital its bytes, and yield who answers, with what."""
        ...


def answer(
    client: Client, step: int, told: bytes, most: int, words: Callable[[], Words], signed: bool
) -> Sent:
    """Return one hospital's message of a step.

    Args:
        client: the hospital.
        step: which message.
        told: what the server sent it.
        most: how many hospitals there are: so many records are taken.
        words: what it masks, asked for when it does.
        signed: whether its masked vector ends with a signature.

    Raises:
        RefusedError: it does not go on.
    """
    if step == ADVERTISE:
        return client.advertise().pack()
    if step == SHARE:
        return packed(client.share(Advertisement.unpack(told, most)))
    if step == MASK:
        masked = client.mask(Sealed.unpack(told, most), words())
        sent = masked.data.cast("B")  # the words in memory are the message: little-endian
        return bytes(sent) + client.signature(masked) if signed else sent
    if step == CONSENT:
        named = [record.client for record in Survivor.unpack(told, most)]
        return client.consent(named).pack()
    if step == REVEAL:
        return packed(client.reveal(Consent.unpack(told, most)))
    raise RefusedError("no such step of the protocol", got=step)


@dataclass(slots=True, eq=False)
class AtHand:
    """Hospitals of this process, some of which fall silent.

    ``absent`` maps a hospital to the first of its five messages that it does not send. ``vector``
    returns a hospital's words when it is about to mask them.
    """

    clients: Mapping[int, Client]
    vector: Callable[[int], Words]
    absent: Mapping[int, int] = field(default_factory=dict)
    signed: bool = False
    refusals: list[str] = field(default_factory=list)

    def ask(self, step: int, told: Mapping[int, bytes]) -> Iterator[tuple[int, Sent]]:
        """Let each act in its turn; one that refuses is gone."""
        for who, data in told.items():
            if self.absent.get(who, REVEAL + 1) <= step:
                continue
            client, most = self.clients[who], len(self.clients)
            try:
                sent = answer(client, step, data, most, partial(self.vector, who), self.signed)
            except RefusedError as refused:
                self.refusals.append(str(refused))
            else:
                yield who, sent
