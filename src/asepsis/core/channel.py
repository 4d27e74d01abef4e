"""What a channel is given and what it hands on: the delivery, and what passed on the wire."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from asepsis.core.updates import Delivery, Individual


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """What hospitals and server know when updates are carried.

    ``drawn`` began the round; whoever of them does not answer dropped out after it. ``received``
    is the digest of the model that each hospital says it received.
    """

    round: int
    rng: np.random.Generator
    drawn: tuple[int, ...]
    received: Mapping[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, updates: Individual, round_: int = 0, seed: int = 0) -> Channel:
        """Return the channel of a round in which everybody who began answers."""
        return cls(round_, np.random.Generator(np.random.Philox(seed)), updates.clients)


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """What came through.

    ``wire`` is what passed by client, masked ``[d]``, where that is not what the server may read.
    ``measurements`` count messages and bytes. ``aborted`` says why nothing was delivered.
    """

    delivery: Delivery | None
    wire: Mapping[int, Tensor] | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)
    aborted: str | None = None


def fingerprint(row: Tensor) -> bytes:
    """Hash a model as it was received: SHA-256 of its float32 bytes.

    Example:
        >>> import torch
        >>> fingerprint(torch.zeros(2)) == fingerprint(torch.zeros(2))
        True
    """
    return hashlib.sha256(row.detach().cpu().contiguous().numpy().tobytes()).digest()
