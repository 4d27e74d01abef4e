"""A plain channel: the server sees every row."""

from __future__ import annotations

from typing import ClassVar

from asepsis.core.channel import Carried, Channel
from asepsis.core.registry import register
from asepsis.core.updates import Individual


@register("transport", "plain")
class Plain:
    """Deliver every client's row to the server as it was sent.

    An authenticated channel, nothing more: the server reads rows ``[n, d]``, claimed counts and
    telemetry of each client, so that every screen and rule works, and every curious server too.

    Source: McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized
    Data (AISTATS 2017).

    Fidelity: own

    Example:
        >>> Plain()
        Plain()
    """

    delivers: ClassVar[type] = Individual
    ideal: ClassVar[bool] = False

    def deliver(self, updates: Individual, channel: Channel) -> Carried:
        """Carry the updates to the server."""
        return Carried(updates)
