"""Updates as messages, one a hospital, and back: for channels that somebody may sit on."""

from __future__ import annotations

from collections.abc import Mapping

from asepsis.core.channel import Channel, Message
from asepsis.core.updates import Individual, Reply, individual

NOBODY = "no message arrived"


def messages_of(updates: Individual, channel: Channel) -> dict[int, Message]:
    """Return what every hospital puts on the wire, unsigned."""
    return {
        client: Message(
            client=client,
            body=updates.rows.row(i),
            weight=float(updates.weights[i]),
            side={name: float(values[i]) for name, values in updates.side.items()},
            round=channel.round,
            received=channel.received.get(client, b""),
        )
        for i, client in enumerate(updates.clients)
    }


def delivery_of(arrived: Mapping[int, Message]) -> Individual:
    """Return what a server reads out of the messages that arrived: at least one."""
    return individual([Reply(i, m.body, m.weight, m.side) for i, m in arrived.items()])
