"""A round of the transport: roles are made, rows become words, the sum becomes a delivery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asepsis.core.blocks import array
from asepsis.core.channel import Carried, Channel, Message
from asepsis.core.updates import Individual, Rows, Summed
from asepsis.defenses.masking.client import Client
from asepsis.defenses.masking.graph import Graph
from asepsis.defenses.masking.keys import SEED, Identity, Secrets
from asepsis.defenses.masking.prg import Words
from asepsis.defenses.masking.quantize import Grid, vector_length, whole
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.server import Server
from asepsis.defenses.masking.session import CONSENT, MASK, REVEAL, Result, Session, Vector
from asepsis.defenses.masking.terms import Terms

SIGNATURE = 64.0
"""Bytes of a signature."""


class MaskedRound:
    """Everything of one round: who began, what they would send, and what they agreed on."""

    def __init__(
        self,
        updates: Individual,
        channel: Channel,
        cohort: tuple[int, ...],
        graph: Graph,
        grid: Grid,
        *,
        late_dropout: float,
        bind_broadcast: bool,
        weighted: bool,
        signed: bool = False,
    ) -> None:
        self.updates, self.channel, self.cohort = updates, channel, cohort
        self.graph, self.grid, self.weighted = graph, grid, weighted
        self.late_dropout, self.bind_broadcast = late_dropout, bind_broadcast
        self.names = sorted(updates.side)
        self.d = updates.rows.shape[1]
        self.signed = signed
        self.cut: dict[int, int] = {}
        self.unfit = 0

    def play(self) -> Carried:
        """Let server and hospitals talk, and return what came through."""
        session = self._session()
        result = session.run()
        wire = Wire(result.masked, self.grid, self.updates.rows)
        measured = self._measured(result)
        if self.signed:
            measured |= {"bytes_signed": SIGNATURE, "refused": float(session.forged)}
        return Carried(self._summed(result), wire, measured, result.stopped)

    def _session(self) -> Session:
        rng = self.channel.rng
        identities = {client: Identity(rng.bytes(SEED)) for client in self.cohort}
        secrets = {client: Secrets(rng.bytes(SEED)) for client in self.cohort}
        terms = Terms(
            round=self.channel.round,
            registry={client: identity.public for client, identity in identities.items()},
            graph=self.graph,
            words=vector_length(self.d, len(self.names)),
            bits=self.grid.modulus_bits,
            bind_broadcast=self.bind_broadcast,
            session=rng.bytes(SEED),
        )
        told = {c: self.channel.received.get(c, bytes(SEED)) for c in self.cohort}
        clients = {c: Client(terms, c, identities[c], secrets[c], told[c]) for c in self.cohort}
        [(usual, _)] = Counter(told.values()).most_common(1)
        server = Server(terms, usual)
        tap = None if self.channel.tap is None else self._tapped
        absent = self._absent()
        return Session(
            server, clients, self._vector, absent, keep=True, signed=self.signed, tap=tap
        )

    def _tapped(self, vectors: Mapping[int, Vector]) -> dict[int, Vector]:
        """Let somebody on the wire have the masked vectors, and return what arrives."""
        assert self.channel.tap is not None
        dtype = np.dtype(f"<i{self.grid.modulus_bits // 8}")
        messages = {
            client: Message(
                client=client,
                body=torch.from_numpy(words.view(dtype).copy()),
                round=self.channel.round,
                signature=signature,
                masked=True,
            )
            for client, (words, signature) in vectors.items()
        }
        arrived = self.channel.tap(messages)
        return {
            client: (message.body.numpy().view(vectors[client][0].dtype), message.signature)
            for client, message in sorted(arrived.items())
        }

    def _vector(self, client: int) -> Words:
        """Return what a hospital is about to mask; its own software refuses what is unfit."""
        i = self.updates.clients.index(client)
        row = array(self.updates.rows.row(i).detach().cpu())
        side = [float(self.updates.side[name][i]) for name in self.names]
        try:
            words, self.cut[client] = self.grid.encode(row, self._count(i), side)
        except RefusedError:
            self.unfit += 1
            raise
        return words

    def _count(self, i: int) -> int:
        weight = float(self.updates.weights[i]) if self.weighted else 1.0
        count = whole(weight)
        if count is None or count > self.grid.max_count:
            raise RefusedError("a count that the modulus was not chosen for", got=weight)
        return count

    def _absent(self) -> dict[int, int]:
        """Return who falls silent, and before which message."""
        absent = {client: MASK for client in self.cohort if client not in self.updates.clients}
        for client in self.updates.clients:
            late, later = self.channel.rng.random(2)
            if late < self.late_dropout:
                absent[client] = CONSENT if later < 0.5 else REVEAL
        return absent

    def _summed(self, result: Result) -> Summed | None:
        if result.total is None:
            return None
        count = len(result.survivors)
        row, weight, side = self.grid.decode(result.total, self.d, count)
        return Summed(
            count=count,
            total=torch.from_numpy(row),
            weight=float(weight),
            side=dict(zip(self.names, side, strict=True)),
        )

    def _measured(self, result: Result) -> dict[str, float]:
        """Return what the round cost, and what became of the rows."""
        up, down = (
            [counted.get(client, 0) for client in self.cohort]
            for counted in (result.traffic.up, result.traffic.down)
        )
        sent = max(1, len(self.cut) * (self.d + len(self.names)))
        return {
            "bytes_up_mean": sum(up) / len(up),
            "bytes_up_max": float(max(up)),
            "bytes_down_mean": sum(down) / len(down),
            "bytes_down_max": float(max(down)),
            "messages": float(result.traffic.messages),
            "dropped": float(len(self.cohort) - len(result.survivors)),
            "unfit": float(self.unfit),
            "clipped": sum(self.cut.values()) / sent,
            "modulus_bits": float(self.grid.modulus_bits),
            "neighbors": float(self.graph.degree),
            "threshold": float(self.graph.threshold),
        }


@dataclass(frozen=True, eq=False)
class Wire(Mapping[int, Tensor]):
    """Masked vectors ``[d]`` by hospital, read as rows: what server and eavesdropper see."""

    masked: Mapping[int, Words]
    grid: Grid
    rows: Rows

    def __getitem__(self, client: int) -> Tensor:
        seen = self.grid.row(self.masked[client][: self.rows.shape[1]])
        return torch.from_numpy(seen).to(self.rows.dtype)

    def __iter__(self) -> Iterator[int]:
        return iter(self.masked)

    def __len__(self) -> int:
        return len(self.masked)
