"""What a channel is given and what it hands on: the delivery, and what passed on the wire."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from asepsis.core.updates import Delivery, Individual


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """What one hospital puts on the wire in a round.

    ``body`` is its row ``[d]``, or where it is ``masked`` the words that hide it (integers).
    ``weight`` is the count it claims, NaN under masks, ``side`` its telemetry. ``round`` and
    ``received`` (the digest of the model it received) are what the message says of itself, and
    ``signature`` covers all of it; empty where nothing is signed.
    """

    client: int
    body: Tensor
    weight: float = math.nan
    side: Mapping[str, float] = field(default_factory=dict)
    round: int = 0
    received: bytes = b""
    signature: bytes = b""
    masked: bool = False

    def copy(self) -> Message:
        """Return the same message with a body of its own."""
        return replace(self, body=self.body.clone(), side=dict(self.side))

    def same(self, other: Message) -> bool:
        """Whether not a bit differs."""
        return _bits(self) == _bits(other)


def _bits(message: Message) -> tuple[object, ...]:
    body = message.body.detach().cpu().contiguous().numpy().tobytes()
    side = tuple(sorted((name, value.hex()) for name, value in message.side.items()))
    head = (message.client, message.weight.hex(), message.round, message.received)
    return (*head, message.signature, side, body)


Tap = Callable[[Mapping[int, Message]], Mapping[int, Message]]
"""Somebody on the wire: messages by hospital as they were sent, to those that arrive."""


class Apart(Protocol):
    """Hospitals in processes of their own, which keep their updates and mask them themselves."""

    def keys(self) -> Mapping[int, bytes]:
        """Return the public identity keys (Ed25519) that hospitals registered."""
        ...

    def ask(self, step: int, told: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Send each hospital its bytes of a step, and yield who answers, with what."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """Updates that are still at their hospitals ``clients``: only their form is known.

    ``dim`` values each, of telemetry the ``names``.
    """

    clients: tuple[int, ...]
    dim: int
    names: tuple[str, ...]
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """What hospitals and server know when updates are carried.

    ``drawn`` began the round; whoever of them does not answer dropped out after it. ``received``
    is the digest of the model that each hospital says it received, ``experiment`` what the run is
    called. ``tap`` sits between hospitals and server, where anybody does: a channel that says
    ``tapped = True`` of itself passes every message through it. ``apart`` are hospitals in
    processes of their own, for a channel in which they do not just hand over their rows.
    """

    round: int
    rng: np.random.Generator
    drawn: tuple[int, ...]
    received: Mapping[int, bytes] = field(default_factory=dict)
    experiment: str = ""
    tap: Tap | None = None
    apart: Apart | None = None

    @classmethod
    def of(cls, updates: Individual, round_: int = 0, seed: int = 0) -> Channel:
        """Return the channel of a round in which everybody who began answers."""
        return cls(round_, np.random.Generator(np.random.Philox(seed)), updates.clients)


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """What came through.

    ``wire`` is what passed by client, masked ``[d]``, where that is not what the server may read.
    ``measurements`` count messages and bytes. ``aborted`` says why nothing was delivered.
    ``refused`` says of which hospitals a message arrived and was not taken, and why; ``None`` of a
    channel that takes them all.
    """

    delivery: Delivery | None
    wire: Mapping[int, Tensor] | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)
    aborted: str | None = None
    refused: Mapping[int, str] | None = None


def fingerprint(row: Tensor) -> bytes:
    """Hash a model as it was received: SHA-256 of its float32 bytes.

    Example:
        >>> import torch
        >>> fingerprint(torch.zeros(2)) == fingerprint(torch.zeros(2))
        True
    """
    return hashlib.sha256(row.detach().cpu().contiguous().numpy().tobytes()).digest()
