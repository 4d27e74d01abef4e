"""An interceptor: alters, drops or replays what hospitals send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from asepsis.attacks.channel.kept import kept, recalled
from asepsis.core.channel import Message
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import WireView
from asepsis.core.updates import State


@register("attack", "intercept")
class Intercept:
    """Sit between hospitals and server, and alter, drop or replay what hospitals send.

    In every attacked round it picks ``max(1, round(share x n))`` of the n messages at random.
    ``alter``: a row ``[d]`` arrives as ``scale x row``, count and telemetry as they were; of a
    masked message, which it cannot read, the first d words arrive negated, whatever the scale:
    the masks no longer cancel, and the sum is noise as wide as the modulus. ``drop``: nothing
    arrives. ``replay``: the first message that it ever heard of that hospital arrives once more,
    with its old round and signature; in its first round it can but listen, so that it needs two.
    It is no hospital, reads nothing that is not on the wire, and has no keys: what is signed it
    cannot sign anew. Messages on the way down pass unchanged. ``touched`` measures how many
    messages it changed. Its state holds a message a hospital where it replays.

    Source: Dolev and Yao, On the Security of Public Key Protocols, IEEE Transactions on
    Information Theory 29 (1983): an attacker who is the network.

    Fidelity: own

    Example:
        >>> from asepsis.core.threat import Facts
        >>> sent = {3: Message(3, torch.tensor([1.0, -2.0]), 10.0)}
        >>> view = WireView(Facts(0, 1, 1.0), torch.zeros(2), sent)
        >>> _, arrives, _ = Intercept(share=1.0).intercept({}, view, np.random.default_rng(0))
        >>> arrives[3].body
        tensor([-2.,  4.])
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    does: Literal["alter", "drop", "replay"] = "alter"
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    scale: float = -2.0

    @property
    def rounds_needed(self) -> int:
        """How many attacked rounds there must be for anything to happen."""
        return 2 if self.does == "replay" else 1

    def intercept(
        self, state: State, view: WireView, rng: np.random.Generator
    ) -> tuple[State, Mapping[int, Message | None], Mapping[str, float]]:
        """Return what it has heard, what arrives instead of whose message, and how many."""
        clients = sorted(view.messages)
        count = max(1, round(self.share * len(clients)))
        chosen = sorted(rng.choice(clients, size=count, replace=False).tolist())
        made: dict[int, Message | None] = {}
        for client in chosen:
            message = view.messages[client]
            if self.does == "drop":
                made[client] = None
            elif self.does == "alter":
                made[client] = self._altered(message, view.sent.numel())
            elif (old := recalled(state, message)) is not None:
                made[client] = old
        idle = not made or (self.does == "alter" and self.scale == 1.0)
        notes = {"touched": float(len(made)), **({"inactive": 1.0} if idle else {})}
        return (kept(state, view.messages) if self.does == "replay" else state), made, notes

    def _altered(self, message: Message, d: int) -> Message:
        if message.masked:
            return replace(message, body=torch.cat([-message.body[:d], message.body[d:]]))
        return replace(message, body=(self.scale * message.body.double()).to(message.body.dtype))
