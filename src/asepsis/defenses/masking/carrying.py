"""A round of the transport: roles are made, rows become words, the sum becomes a delivery."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from asepsis.core.blocks import array
from asepsis.core.channel import Apart, Carried, Channel, Message, Waiting
from asepsis.core.updates import Individual, Summed
from asepsis.defenses.masking.client import Client
from asepsis.defenses.masking.graph import Graph
from asepsis.defenses.masking.home import ADVERTISE, CONSENT, MASK, REVEAL, AtHand, Hospitals
from asepsis.defenses.masking.invitation import Invitation
from asepsis.defenses.masking.keys import SEED, Identity, Secrets
from asepsis.defenses.masking.prg import Words
from asepsis.defenses.masking.quantize import Grid, vector_length, whole
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.server import Server
from asepsis.defenses.masking.session import SIGNATURE, Result, Session, Vector
from asepsis.defenses.masking.terms import Terms


class MaskedRound:
    """Everything of one round: who began, what they would send, and what they agreed on.

    ``updates`` are rows of hospitals in this process, or only the form of rows that wait at
    hospitals which are ``apart``.
    """

    def __init__(
        self,
        updates: Individual | Waiting,
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
        self.signed = signed
        form = form_of(updates)
        self.names, self.d, self.dtype = sorted(form.names), form.dim, form.dtype
        self.cut: dict[int, int] = {}
        self.unfit = 0

    def play(self) -> Carried:
        """Let server and hospitals talk, and return what came through."""
        session = self._session()
        result = session.run()
        wire = Wire(result.masked, self.grid, self.d, self.dtype)
        measured = self._measured(result)
        if self.signed:
            measured |= {"bytes_signed": float(SIGNATURE), "refused": float(session.forged)}
        return Carried(self._summed(result), wire, measured, result.stopped)

    def _session(self) -> Session:
        absent = self._absent()
        if self.channel.apart is None:
            terms, hospitals = self._at_hand(absent)
        else:
            terms, hospitals = self._apart(self.channel.apart, absent)
        told = (self.channel.received.get(c, bytes(SEED)) for c in self.cohort)
        [(usual, _)] = Counter(told).most_common(1)
        tap = None if self.channel.tap is None else self._tapped
        return Session(Server(terms, usual), hospitals, keep=True, signed=self.signed, tap=tap)

    def _seeds(self) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """Return the seeds of identities and of everything else, from the run's generator."""
        rng = self.channel.rng
        return {c: rng.bytes(SEED) for c in self.cohort}, {c: rng.bytes(SEED) for c in self.cohort}

    def _at_hand(self, absent: Mapping[int, int]) -> tuple[Terms, Hospitals]:
        """Return hospitals of this process: their keys can be repeated, as the run can."""
        of_identity, of_round = self._seeds()
        identities = {client: Identity(seed) for client, seed in of_identity.items()}
        registry = {client: identity.public for client, identity in identities.items()}
        terms = self._terms(registry, self.channel.rng.bytes(SEED))
        clients = {
            c: Client(
                terms,
                c,
                identities[c],
                Secrets(of_round[c]),
                self.channel.received.get(c, bytes(SEED)),
            )
            for c in self.cohort
        }
        return terms, AtHand(clients, self._vector, absent, self.signed)

    def _apart(self, apart: Apart, absent: Mapping[int, int]) -> tuple[Terms, Hospitals]:
        """Return hospitals elsewhere: all that this process has of theirs are public keys."""
        known = apart.keys()
        registry = {client: known[client] for client in self.cohort if client in known}
        session = secrets.token_bytes(SEED)
        invitation = Invitation(session, registry, tuple(self.names)).pack()
        terms = self._terms(registry, session)
        return terms, Elsewhere(apart, invitation, absent, frozenset(self.updates.clients))

    def _terms(self, registry: Mapping[int, bytes], session: bytes) -> Terms:
        return Terms(
            round=self.channel.round,
            registry=registry,
            graph=self.graph,
            words=vector_length(self.d, len(self.names)),
            bits=self.grid.modulus_bits,
            bind_broadcast=self.bind_broadcast,
            session=session,
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
        assert isinstance(self.updates, Individual)
        i = self.updates.clients.index(client)
        row = array(self.updates.rows.row(i).detach().cpu())
        side = [float(self.updates.side[name][i]) for name in self.names]
        weight = float(self.updates.weights[i]) if self.weighted else 1.0
        try:
            words, self.cut[client] = self.grid.encode(row, count_of(weight, self.grid), side)
        except RefusedError:
            self.unfit += 1
            raise
        return words

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
        """Return what the round cost, and what became of the rows as far as this process knows."""
        up, down = (
            [counted.get(client, 0) for client in self.cohort]
            for counted in (result.traffic.up, result.traffic.down)
        )
        sent = max(1, len(self.cut) * (self.d + len(self.names)))
        at_home = {"unfit": float(self.unfit), "clipped": sum(self.cut.values()) / sent}
        return {
            "bytes_up_mean": sum(up) / len(up),
            "bytes_up_max": float(max(up)),
            "bytes_down_mean": sum(down) / len(down),
            "bytes_down_max": float(max(down)),
            "messages": float(result.traffic.messages),
            "dropped": float(len(self.cohort) - len(result.survivors)),
            **(at_home if self.channel.apart is None else {}),
            "modulus_bits": float(self.grid.modulus_bits),
            "neighbors": float(self.graph.degree),
            "threshold": float(self.graph.threshold),
        }


def form_of(updates: Individual | Waiting) -> Waiting:
    """Return the form of updates: what is known of them where they wait elsewhere."""
    if isinstance(updates, Waiting):
        return updates
    rows = updates.rows
    return Waiting(updates.clients, rows.shape[1], tuple(updates.side), rows.dtype)


def count_of(weight: float, grid: Grid) -> int:
    """Return the count that a hospital's vector is weighed with.

    Raises:
        RefusedError: it is no whole number of at least 1, or the modulus was not chosen for it.
    """
    count = whole(weight)
    if count is None or count > grid.max_count:
        raise RefusedError("a count that the modulus was not chosen for", got=weight)
    return count


@dataclass(slots=True, eq=False)
class Elsewhere:
    """Hospitals in processes of their own, as the server's end asks them.

    ``absent`` are not asked from their step on; who does not wait with an update is not asked at
    all: its process would have nothing to mask.
    """

    apart: Apart
    invitation: bytes
    absent: Mapping[int, int]
    waiting: frozenset[int]
    refusals: list[str] = field(default_factory=list)

    def ask(self, step: int, told: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Send each hospital its bytes, and yield who answers, with what."""
        there = {
            client: self.invitation if step == ADVERTISE else data
            for client, data in told.items()
            if client in self.waiting and self.absent.get(client, REVEAL + 1) > step
        }
        yield from self.apart.ask(step, there)


@dataclass(frozen=True, eq=False)
class Wire(Mapping[int, Tensor]):
    """Masked vectors ``[d]`` by hospital, read as rows: what server and eavesdropper see."""

    masked: Mapping[int, Words]
    grid: Grid
    dim: int
    dtype: torch.dtype

    def __getitem__(self, client: int) -> Tensor:
        seen = self.grid.row(self.masked[client][: self.dim])
        return torch.from_numpy(seen).to(self.dtype)

    def __iter__(self) -> Iterator[int]:
        return iter(self.masked)

    def __len__(self) -> int:
        return len(self.masked)
