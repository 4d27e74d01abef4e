"""A plain channel: the server sees every row."""

from __future__ import annotations

from typing import ClassVar

from asepsis.core.channel import Carried, Channel
from asepsis.core.registry import register
from asepsis.core.updates import Individual
from asepsis.defenses.transport.messages import NOBODY, delivery_of, messages_of


@register("transport", "plain")
class Plain:
    """Deliver every client's row to the server as it was sent.

    The server reads rows ``[n, d]``, claimed counts and telemetry of each client, so that every
    screen and rule works, and every curious server too. Nothing protects a message on its way:
    where an attack sits on the wire, what arrives is taken for what was sent, whatever the message
    says of its round, and a hospital whose message does not arrive is one that did not answer.
    ``signed`` is the same channel with signatures.

    Source: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized
    Data (AISTATS 2017).

    Fidelity: own

    Example:
        >>> Plain()
        Plain()
    """

    delivers: ClassVar[type] = Individual
    ideal: ClassVar[bool] = False
    tapped: ClassVar[bool] = True

    def deliver(self, updates: Individual, channel: Channel) -> Carried:
        """Carry the updates to the server."""
        if channel.tap is None:
            return Carried(updates)
        arrived = channel.tap(messages_of(updates, channel))
        return Carried(delivery_of(arrived)) if arrived else Carried(None, aborted=NOBODY)
