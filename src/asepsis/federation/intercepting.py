"""Somebody on the wire between hospitals and server: what they see, change, and did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from asepsis.core.channel import Carried, Message
from asepsis.core.contracts import ChannelAttack
from asepsis.core.errors import ConfigError
from asepsis.core.rng import Draw
from asepsis.core.threads import one_thread
from asepsis.core.threat import Facts, WireView
from asepsis.core.updates import State
from asepsis.defenses.reports import StageReport
from asepsis.federation.evidence import checked_state
from asepsis.federation.federation import Federation

ALTERED, DROPPED, REPLAYED = "altered", "dropped", "replayed"


class Tapped:
    """An interceptor in one round: a channel hands it the messages, and takes what it lets pass.

    ``minds`` is the attack's next state, ``touched`` what became of whose message, ``notes`` what
    the attack measured.
    """

    def __init__(self, federation: Federation, minds: State, facts: Facts, sent: Tensor) -> None:
        self._federation, self._facts, self._sent = federation, facts, sent
        self.minds = minds
        self.touched: dict[int, str] = {}
        self.notes: dict[str, float] = {}

    def __call__(self, messages: Mapping[int, Message]) -> dict[int, Message]:
        """Return the messages that arrive."""
        attack = self._federation.attack
        assert isinstance(attack, ChannelAttack)
        view = WireView(
            facts=replace(self._facts, received=self._sent.clone()),
            sent=self._sent.clone(),
            messages={client: message.copy() for client, message in messages.items()},
        )
        rng = self._federation.streams.at(Draw.ATTACK_CHANNEL, self._facts.round)
        with one_thread():
            minds, changed, notes = attack.intercept(self.minds, view, rng)
        place = f"attack {type(attack).__name__}"
        self.minds, self.notes = checked_state(minds, place), dict(notes)
        arrived = dict(messages)
        for client in sorted(changed):
            self._put(arrived, client, changed[client], place)
        return arrived

    def _put(
        self, arrived: dict[int, Message], client: int, message: Message | None, place: str
    ) -> None:
        if client not in arrived:
            raise ConfigError("a message of a hospital that sent none", place=place, got=client)
        if message is None:
            del arrived[client]
            self.touched[client] = DROPPED
            return
        sent = arrived[client]
        if message.body.shape != sent.body.shape or message.body.dtype != sent.body.dtype:
            raise ConfigError(
                f"what it puts in the place of hospital {client}'s message is no such message",
                place=place,
                got=(tuple(message.body.shape), message.body.dtype),
                fix=f"its body must be {sent.body.dtype} of shape {tuple(sent.body.shape)}",
            )
        if not message.same(sent):
            arrived[client] = message.copy()
            self.touched[client] = ALTERED if message.round == sent.round else REPLAYED


def tapped(federation: Federation, minds: State, facts: Facts, sent: Tensor) -> Tapped | None:
    """Return who sits on the wire in this round, if anybody does."""
    return Tapped(federation, minds, facts, sent) if federation.intercepts(facts.round) else None


def channel_report(federation: Federation, came: Carried) -> tuple[StageReport, ...]:
    """Return the activation proof of a channel that refuses messages: the share it refused.

    It speaks of single hospitals only where it refused their messages.
    """
    if came.refused is None:
        return ()
    transport = federation.pipeline.transport
    arrived = came.measurements.get("arrived", 0.0)
    return (
        StageReport(
            name=federation.pipeline.name_of(transport),
            room="transport",
            changed=len(came.refused) / arrived if arrived else 0.0,
            measurements={},
            verdicts=dict.fromkeys(came.refused, 0.0),
        ),
    )
