"""A signed channel: what was changed on its way, or sent before, is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from asepsis.core.channel import Carried, Channel, Message, fingerprint
from asepsis.core.registry import register
from asepsis.core.updates import Individual
from asepsis.defenses.audit import canonical
from asepsis.defenses.audit.keys import LedgerKey, signed, simulated_key
from asepsis.defenses.transport.messages import NOBODY, delivery_of, messages_of

SIGNATURE = 64
BOUND = 8 + 8 + 32
"""Bytes that a message has to say what it is for: client, round, the model received."""

ALTERED = "the signature does not fit the message"
REPLAYED = "a message of another round, or of another model"


@register("transport", "signed")
class Signed:
    """Deliver every client's row, signed by its hospital; changed and old messages are refused.

    Hospital i signs (Ed25519, 64 bytes) the experiment, round, its own number, SHA-256 of the
    global model it received and of its row ``[d]``, its count and telemetry. A message whose
    signature does not fit is refused as ``altered``; one that is signed, but of another round or
    model, as ``replayed``; the round goes on with the others, and is void where none is left. Of
    hospitals that were drawn and of whom nothing came, the channel counts how many are
    ``missing``: who cut them off, or whether they fell silent, nobody can tell, and no signature
    prevents it.

    It stops nobody who holds a key: a hostile hospital signs its own lies, and they are delivered.
    Nothing is hidden, so that whoever listens reads all of it. Public keys are taken to be known
    to the server; those of a simulation are derived from the experiment's name, so that runs can be
    repeated, and no attack is told it. A deployment must make them at the hospital.
    ``bytes_signed`` of each message are for the signature and what it binds.

    Source: Bernstein et al., High-speed high-security signatures (CHES 2011): Ed25519

    Fidelity: own

    Example:
        >>> import torch
        >>> from asepsis.core.updates import Rows
        >>> one = torch.ones(2, 1)
        >>> sent = Individual((0, 1), Rows(one), one[:, 0].double())
        >>> def flipped(messages):
        ...     return {**messages, 1: replace(messages[1], body=-messages[1].body)}
        >>> came = Signed().deliver(sent, replace(Channel.of(sent), tap=flipped))
        >>> came.delivery.clients, dict(came.refused)
        ((0,), {1: 'the signature does not fit the message'})
    """

    delivers: ClassVar[type] = Individual
    ideal: ClassVar[bool] = False
    tapped: ClassVar[bool] = True
    why: ClassVar[str] = "what came in its name was not what it signed for this round"

    def deliver(self, updates: Individual, channel: Channel) -> Carried:
        """Carry the updates to the server, which takes what is signed for this round."""
        keys = {client: key_of(channel, client) for client in updates.clients}
        sent = {
            client: replace(message, signature=keys[client].sign(told(message, channel)))
            for client, message in messages_of(updates, channel).items()
        }
        arrived = sent if channel.tap is None else channel.tap(sent)
        refused = {
            client: reason
            for client, message in sorted(arrived.items())
            if (reason := _wrong(message, client, keys[client].public, channel))
        }
        taken = {client: arrived[client] for client in arrived if client not in refused}
        return Carried(
            delivery_of(taken) if taken else None,
            measurements=_measured(sent, arrived, refused, channel),
            aborted=None if taken else ("every message was refused" if arrived else NOBODY),
            refused=refused,
        )


def key_of(channel: Channel, client: int) -> LedgerKey:
    """Return a hospital's key of a simulation."""
    return simulated_key(f"{channel.experiment}|hospital {client}")


def told(message: Message, channel: Channel) -> bytes:
    """Return the text that a message's signature covers; floats to the last bit."""
    return canonical.encode(
        {
            "protocol": "asepsis-signed-1",
            "experiment": channel.experiment,
            "round": message.round,
            "client": message.client,
            "received": message.received.hex(),
            "dtype": str(message.body.dtype),
            "row": fingerprint(message.body).hex(),
            "weight": message.weight.hex(),
            "side": {name: value.hex() for name, value in message.side.items()},
        }
    )


def _wrong(message: Message, client: int, public: bytes, channel: Channel) -> str | None:
    if not signed(public, message.signature, told(message, channel)):
        return ALTERED
    expected = (channel.round, channel.received.get(client, b""))
    return None if (message.round, message.received) == expected else REPLAYED


def _measured(
    sent: Mapping[int, Message],
    arrived: Mapping[int, Message],
    refused: Mapping[int, str],
    channel: Channel,
) -> dict[str, float]:
    counts = Counter(refused.values())
    cohort = {*channel.drawn, *sent}
    sizes = [_size(message) for message in sent.values()]
    return {
        "bytes_up_mean": sum(sizes) / len(cohort),
        "bytes_up_max": float(max(sizes, default=0)),
        "bytes_signed": float(SIGNATURE + BOUND),
        "arrived": float(len(arrived)),
        "altered": float(counts[ALTERED]),
        "replayed": float(counts[REPLAYED]),
        "missing": float(len(cohort) - len(arrived)),
    }


def _size(message: Message) -> int:
    row = message.body.numel() * message.body.element_size()
    return row + 8 * (1 + len(message.side)) + BOUND + SIGNATURE
