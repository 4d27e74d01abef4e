"""What travels between hospitals and server: rows, deliveries, aggregates.

A row is one hospital's update, local minus received, flattened by :mod:`asepsis.core.layout`.
A plain channel delivers :class:`Individual` rows. A secure sum delivers :class:`Summed`, which
HAS no rows: a curious server cannot look at what the type has no place for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

State = dict[str, Tensor]
"""State of a stage, an attack or a client: named tensors, so that it fits in a checkpoint."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A matrix of updates ``[n, d]``, read as column blocks or whole.

    Example:
        >>> rows = Rows(torch.zeros(3, 10))
        >>> [tuple(block.shape) for _, block in rows.blocks(4)]
        [(3, 4), (3, 4), (3, 2)]
    """

    matrix: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, d)``: rows and columns."""
        n, d = self.matrix.shape
        return n, d

    def blocks(self, columns: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield ``(columns, block [n, <=columns])`` from left to right."""
        for start in range(0, self.shape[1], columns):
            where = slice(start, min(start + columns, self.shape[1]))
            yield where, self.matrix[:, where]

    def dense(self) -> Tensor:
        """Return the whole matrix ``[n, d]``; do not write to it."""
        return self.matrix

    def select(self, keep: Tensor) -> Rows:
        """Return the rows at the indices ``keep``."""
        return Rows(self.matrix[keep])


@dataclass(frozen=True, slots=True, eq=False)
class Individual:
    """One row per client, sorted by client id, as a plain channel delivers them.

    ``weights`` are the sample counts the clients claim (float64 ``[n]``); ``side`` is named
    telemetry, one value a client (its training loss, say).
    """

    clients: tuple[int, ...]
    rows: Rows
    weights: Tensor
    side: Mapping[str, Tensor] = field(default_factory=dict)

    def select(self, keep: Tensor) -> Individual:
        """Return the delivery with only the rows at the indices ``keep``."""
        return Individual(
            clients=tuple(self.clients[int(i)] for i in keep),
            rows=self.rows.select(keep),
            weights=self.weights[keep],
            side={name: values[keep] for name, values in self.side.items()},
        )

    def with_rows(self, matrix: Tensor) -> Individual:
        """Return the same delivery with other rows."""
        return Individual(self.clients, Rows(matrix), self.weights, self.side)


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """The weighted sum of ``count`` rows: ``total = sum_i weight_i * row_i`` ``[d]``.

    Telemetry is summed as well: nothing in here belongs to one client.
    """

    count: int
    total: Tensor
    weight: float
    side: Mapping[str, float] = field(default_factory=dict)


Delivery = Individual | Summed


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """What a rule returns.

    ``delta`` ``[d]`` is added to the global row by the server optimizer. ``verdicts`` maps a
    client to the share of its row that the rule let through (0 dropped, 1 kept whole); it is
    empty where the rule does not speak about single clients.
    """

    delta: Tensor
    measurements: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Screened:
    """What a screen returns: the delivery that goes on, and what it did to it."""

    delivery: Individual
    measurements: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What a client returns after local training: its row, claimed weight, telemetry."""

    client: int
    row: Tensor
    weight: float
    side: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def individual(replies: list[Reply]) -> Individual:
    """Stack replies into a delivery, sorted by client id.

    Example:
        >>> delivery = individual([Reply(4, torch.ones(2), 10.0), Reply(1, torch.zeros(2), 5.0)])
        >>> delivery.clients
        (1, 4)
    """
    ordered = sorted(replies, key=lambda reply: reply.client)
    names = sorted(set.intersection(*(set(reply.side) for reply in ordered))) if ordered else []
    return Individual(
        clients=tuple(reply.client for reply in ordered),
        rows=Rows(torch.stack([reply.row for reply in ordered])),
        weights=torch.tensor([reply.weight for reply in ordered], dtype=torch.float64),
        side={
            name: torch.tensor([reply.side[name] for reply in ordered], dtype=torch.float64)
            for name in names
        },
    )
