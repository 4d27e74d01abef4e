"""Hospitals and a server at one table, so that tests can play a round, or spoil it, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from asepsis.defenses.masking.client import Client
from asepsis.defenses.masking.graph import Graph
from asepsis.defenses.masking.home import AtHand
from asepsis.defenses.masking.keys import SEED, Identity, Secrets
from asepsis.defenses.masking.messages import Consent, Sealed, Share
from asepsis.defenses.masking.prg import Words
from asepsis.defenses.masking.server import Server
from asepsis.defenses.masking.session import Result, Session
from asepsis.defenses.masking.terms import Terms

MODEL, OTHER_MODEL = bytes(32), bytes([1]) * 32
WORDS = 3


class Table:
    """One round of ``n`` hospitals, whose vectors are small numbers; ``masked`` in place."""

    def __init__(
        self,
        n: int,
        threshold: int,
        *,
        degree: int | None = None,
        quorum: int | None = None,
        words: int = WORDS,
        bits: int = 32,
        round_: int = 0,
        seed: int = 0,
        received: Mapping[int, bytes] | None = None,
        bind: bool = True,
    ) -> None:
        rng = np.random.Generator(np.random.Philox(seed))
        self.identities = {i: Identity(rng.bytes(SEED)) for i in range(n)}
        graph = Graph(degree or n - 1, threshold, quorum or threshold)
        registry = {i: identity.public for i, identity in self.identities.items()}
        self.terms = Terms(round_, registry, graph, words, bits, bind)
        told = received or {}
        self.clients = {
            i: Client(
                self.terms, i, self.identities[i], Secrets(rng.bytes(SEED)), told.get(i, MODEL)
            )
            for i in range(n)
        }
        self.server = Server(self.terms, MODEL)
        self.plain = {
            i: rng.integers(0, 1000, size=words).astype(self.terms.dtype) for i in range(n)
        }
        self.masked: dict[int, Words] = {}

    def run(self, absent: Mapping[int, int] | None = None) -> Result:
        """Play the whole round, with hospitals that fall silent."""
        here = AtHand(self.clients, lambda i: self.plain[i].copy(), absent or {})
        return Session(self.server, here, keep=True).run()

    def sum_of(self, clients: Sequence[int]) -> list[int]:
        """Return the true sum."""
        columns = zip(*(self.plain[i].tolist() for i in clients), strict=True)
        return [sum(column) % 2**self.terms.bits for column in columns]

    def boxes(self) -> dict[int, list[Sealed]]:
        """Play rounds 0 and 1, and return what every hospital would be handed."""
        begun = self.server.roster([client.advertise() for client in self.clients.values()])
        return self.server.route({i: client.share(begun) for i, client in self.clients.items()})

    def survivors(self, alive: Sequence[int]) -> list[int]:
        """Play until the server has the vectors of these hospitals."""
        boxes = self.boxes()
        for i in alive:
            self.masked[i] = self.clients[i].mask(boxes[i], self.plain[i].copy())
            self.server.collect(i, self.masked[i])
        return [record.client for record in self.server.survivors()]

    def consents(self, alive: Sequence[int]) -> list[Consent]:
        """Play until everybody has signed."""
        named = self.survivors(alive)
        return self.server.consents([self.clients[i].consent(named) for i in alive])

    def revealed(self, alive: Sequence[int]) -> dict[int, list[Share]]:
        """Play until everybody has revealed shares."""
        consents = self.consents(alive)
        return {i: self.clients[i].reveal(consents) for i in alive}
