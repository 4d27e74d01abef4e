"""What a channel asks of one hospital: made beforehand, played alone in a process of its own.

Where a protocol goes back and forth, it is played once with the whole cohort, and what this
hospital is handed in it is written down: played again alone, the hospital does all of its own work
and none of the others'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from asepsis.core.blocks import array
from asepsis.core.channel import Carried, Channel, Message
from asepsis.core.updates import Individual, Rows
from asepsis.defenses.masking.carrying import MaskedRound
from asepsis.defenses.masking.client import Client
from asepsis.defenses.masking.home import AtHand
from asepsis.defenses.masking.keys import Identity, Secrets
from asepsis.defenses.masking.messages import Advertisement, Consent, Sealed, Share
from asepsis.defenses.masking.prg import Words
from asepsis.defenses.masking.quantize import Grid
from asepsis.defenses.masking.session import Session
from asepsis.defenses.masking.terms import Terms
from asepsis.defenses.transport.homomorphic_sum import HomomorphicSum, opened
from asepsis.defenses.transport.messages import messages_of
from asepsis.defenses.transport.secure_aggregation import SecureAggregation
from asepsis.defenses.transport.signed import Signed, key_of, told

NUMBER = 8
"""Bytes of a count, or of one figure of telemetry."""
IDEAL = (
    "the channel is an ideal: the protocol it stands for has a cost that is not in these figures"
)
OPAQUE = "what this channel has a hospital do is not measured, only the bytes it counts"


class Wire(Protocol):
    """One hospital's part of a channel."""

    def send(self, row: Tensor, side: Mapping[str, float]) -> object:
        """Do all that the hospital does to send this row ``[d]`` and telemetry."""
        ...


@dataclass(frozen=True, slots=True)
class Sending:
    """A wire, the bytes that cross it at one hospital, besides the model, and what is left out."""

    wire: Wire
    up: int
    down: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plainly:
    """The row, a count and telemetry, as they are."""

    def send(self, row: Tensor, side: Mapping[str, float]) -> object:
        """Return the row's bytes."""
        return array(row.detach().cpu()).tobytes()


@dataclass(frozen=True, slots=True)
class WithSignature:
    """A signature over all that is sent."""

    channel: Channel
    client: int
    weight: float

    def send(self, row: Tensor, side: Mapping[str, float]) -> object:
        """Sign the message."""
        text = told(self.message(row, side), self.channel)
        return key_of(self.channel, self.client).sign(text)

    def message(self, row: Tensor, side: Mapping[str, float]) -> Message:
        """Return what is signed."""
        names = {name: _one(value) for name, value in side.items()}
        update = Individual((self.client,), Rows(row[None]), _one(self.weight), names)
        return messages_of(update, self.channel)[self.client]


@dataclass(frozen=True, slots=True)
class Encrypted:
    """Homomorphic encryption of the own vector, and decryption of as many ciphertexts."""

    grid: Grid
    count: int

    def send(self, row: Tensor, side: Mapping[str, float]) -> object:
        """Encrypt the row, and open a sum as long as it."""
        words, _ = self.grid.encode(
            array(row.detach().cpu()), self.count, [side[name] for name in sorted(side)]
        )
        return opened([self.grid.numbers(words)])


@dataclass(slots=True)
class Heard:
    """What one hospital is handed in a round of secure aggregation."""

    advertisements: Sequence[Advertisement] = ()
    boxes: Sequence[Sealed] = ()
    survivors: Sequence[int] = ()
    consents: Sequence[Consent] = ()


@dataclass(frozen=True, slots=True)
class Masked:
    """One hospital's five messages of secure aggregation: keys, shares, vector, consent, shares."""

    terms: Terms
    client: int
    seeds: tuple[bytes, bytes]
    received: bytes
    grid: Grid
    count: int
    heard: Heard
    signed: bool = False

    def send(self, row: Tensor, side: Mapping[str, float]) -> object:
        """Play the hospital's side from the first message to the last."""
        identity, secrets = Identity(self.seeds[0]), Secrets(self.seeds[1])
        me = Client(self.terms, self.client, identity, secrets, self.received)
        telemetry = [side[name] for name in sorted(side)]
        words, _ = self.grid.encode(array(row.detach().cpu()), self.count, telemetry)
        me.advertise()
        me.share(self.heard.advertisements)
        masked = me.mask(self.heard.boxes, words)
        signature = me.signature(masked) if self.signed else b""
        me.consent(self.heard.survivors)
        return masked, signature, me.reveal(self.heard.consents)


class Listening(Client):
    """A hospital that writes down what it is handed."""

    def __init__(self, heard: Heard, *facts: Any) -> None:
        super().__init__(*facts)
        self.heard = heard

    def share(self, advertisements: Sequence[Advertisement]) -> list[Sealed]:
        """Note the keys of the others."""
        self.heard.advertisements = list(advertisements)
        return super().share(advertisements)

    def mask(self, boxes: Sequence[Sealed], words: Words) -> Words:
        """Note the sealed shares."""
        self.heard.boxes = list(boxes)
        return super().mask(boxes, words)

    def consent(self, survivors: Sequence[int]) -> Consent:
        """Note who sent a vector."""
        self.heard.survivors = list(survivors)
        return super().consent(survivors)

    def reveal(self, consents: Sequence[Consent]) -> list[Share]:
        """Note the signatures."""
        self.heard.consents = list(consents)
        return super().reveal(consents)


def sending(transport: object, updates: Individual, channel: Channel, client: int) -> Sending:
    """Return what sending through this channel asks of one hospital of a cohort.

    Args:
        transport: the channel.
        updates: what the cohort sends; only sizes, counts and names of telemetry matter.
        channel: the round's channel.
        client: the hospital.
    """
    place = updates.clients.index(client)
    weight = float(updates.weights[place])
    width = updates.rows.shape[1]
    plain = width * updates.rows.dtype.itemsize + NUMBER * (1 + len(updates.side))
    if isinstance(transport, SecureAggregation):
        return _masked(transport, updates, channel, client, weight)
    if isinstance(transport, HomomorphicSum):
        wire = Encrypted(transport.grid(len(updates.clients)), _count(transport, weight))
        return _counted(wire, transport.deliver(updates, channel), plain)
    if isinstance(transport, Signed):
        wire_ = WithSignature(channel, client, weight)
        return _counted(wire_, transport.deliver(updates, channel), plain)
    if getattr(transport, "ideal", False):
        return Sending(Plainly(), plain, note=IDEAL)
    carried = cast(Any, transport).deliver(updates, channel)
    note = OPAQUE if carried.measurements else ""
    return replace(_counted(Plainly(), carried, plain), note=note)


def _counted(wire: Wire, carried: Carried, plain: int) -> Sending:
    """Take the bytes that a channel counts; a row as it is where it counts none."""
    up = carried.measurements.get("bytes_up_max", plain)
    return Sending(wire, round(up), round(carried.measurements.get("bytes_down_max", 0)))


def _count(transport: SecureAggregation | HomomorphicSum, weight: float) -> int:
    return round(weight) if transport.weighted else 1


def _masked(
    transport: SecureAggregation,
    updates: Individual,
    channel: Channel,
    client: int,
    weight: float,
) -> Sending:
    size = len(updates.clients)
    made = Overheard(
        updates,
        channel,
        updates.clients,
        transport.shape_of(size),
        transport.grid(size),
        late_dropout=0.0,
        bind_broadcast=transport.bind_broadcast,
        weighted=transport.weighted,
        signed=transport.signed,
    )
    session, seeds, heard = made.with_listener(client)
    traffic = session.run().traffic
    wire = Masked(
        terms=session.server.terms,
        client=client,
        seeds=seeds,
        received=channel.received[client],
        grid=made.grid,
        count=_count(transport, weight),
        heard=heard,
        signed=transport.signed,
    )
    return Sending(wire, traffic.up[client], traffic.down[client])


class Overheard(MaskedRound):
    """A round in which one hospital writes down what it is handed."""

    def with_listener(self, client: int) -> tuple[Session, tuple[bytes, bytes], Heard]:
        """Return the session, the hospital's seeds, and where it writes."""
        session, heard = self._session(), Heard()
        identities, secrets = self.drawn
        seeds = (identities[client], secrets[client])
        received = self.channel.received[client]
        terms = session.server.terms
        identity = Identity(seeds[0])
        listener = Listening(heard, terms, client, identity, Secrets(seeds[1]), received)
        at_hand = session.hospitals
        assert isinstance(at_hand, AtHand)
        there = replace(at_hand, clients={**at_hand.clients, client: listener})
        return replace(session, hospitals=there), seeds, heard

    def _seeds(self) -> tuple[dict[int, bytes], dict[int, bytes]]:
        self.drawn = super()._seeds()
        return self.drawn


def _one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)
