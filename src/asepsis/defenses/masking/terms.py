"""What all have agreed on before a round: who takes part, thresholds, the shape of a vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from asepsis.defenses.masking.graph import Graph
from asepsis.defenses.masking.keys import digest

VERSION = b"asepsis-secure-aggregation-1"


@dataclass(frozen=True, eq=False)
class Terms:
    """One round's agreement, known to hospitals and server alike.

    ``registry`` maps every hospital of the cohort to its registered Ed25519 key: registration is
    trusted, and the server cannot invent hospitals. ``words`` is a vector's length, ``bits`` the
    modulus' (32 or 64). ``bind_broadcast``: masks and signatures cover the hash of the model that
    a hospital received. ``session`` is fresh random bytes: keys and signatures of another run of
    the same round are good for nothing in this one.
    """

    round: int
    registry: Mapping[int, bytes]
    graph: Graph
    words: int
    bits: int
    bind_broadcast: bool = True
    session: bytes = bytes(32)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The dtype of a word."""
        return np.dtype(f"<u{self.bits // 8}")

    @property
    def cohort(self) -> tuple[int, ...]:
        """The hospitals of the round."""
        return tuple(sorted(self.registry))

    def point(self, client: int) -> int:
        """Return where a hospital's shares are taken: never 0."""
        return client + 1

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over all of it: binds whatever is signed, sealed or derived to this round."""
        graph = self.graph
        shape = (self.round, graph.degree, graph.threshold, graph.quorum, self.words, self.bits)
        numbers = [number.to_bytes(8, "little") for number in (*shape, int(self.bind_broadcast))]
        members = [client.to_bytes(8, "little") + self.registry[client] for client in self.cohort]
        return digest(VERSION, self.session, *numbers, *members)
