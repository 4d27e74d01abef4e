"""What travels between hospitals and server: rows, deliveries, aggregates.

A row is one hospital's update, local minus received, flattened by :mod:`asepsis.core.layout`.
A plain channel delivers :class:`Individual` rows. A secure sum delivers :class:`Summed`, which
HAS no rows: a curious server cannot look at what the type has no place for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

State = dict[str, Tensor]
"""State of a stage, an attack or a client: named tensors, so that it fits in a checkpoint."""

PANEL = 1 << 26
"""Bytes of a panel: what is read of rows that are not one tensor in memory."""


class Source(Protocol):
    """Rows kept outside memory, in a file say: panels of columns are handed out one at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, d)``: rows and columns."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The rows' dtype."""
        ...

    def panels(self, rows: Sequence[int], columns: int) -> Iterator[Tensor]:
        """Yield these rows' columns from left to right, so many at a time.

        A panel is good only until the next.
        """
        ...

    def check_whole(self, rows: int) -> None:
        """Refuse to be one matrix: raise where so many rows are too large for memory."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A matrix of updates ``[n, d]``, read as column blocks, row by row, or whole.

    ``source`` is a tensor, or rows outside memory. Selecting and scaling copy nothing: ``chosen``
    are indices into the source's rows, ``factors`` (float64 ``[n]``) multiply the chosen rows.

    Example:
        >>> rows = Rows(torch.zeros(3, 10))
        >>> [tuple(block.shape) for _, block in rows.blocks(4)]
        [(3, 4), (3, 4), (3, 2)]
    """

    source: Tensor | Source
    chosen: Tensor | None = None
    factors: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, d)``: rows and columns."""
        n, d = self.source.shape
        return (n if self.chosen is None else len(self.chosen)), d

    @property
    def dtype(self) -> torch.dtype:
        """The rows' dtype."""
        return self.source.dtype

    @property
    def device(self) -> torch.device:
        """Where blocks are handed out."""
        return self.source.device if isinstance(self.source, Tensor) else torch.device("cpu")

    def panels(self, columns: int) -> Iterator[Tensor]:
        """Yield what the source holds, from left to right; :meth:`finish` makes blocks of parts.

        A tensor is a single panel. Other panels have a multiple of ``columns`` and up to
        :data:`PANEL` bytes, and each is good only until the next.
        """
        if isinstance(self.source, Tensor):
            yield self.source
            return
        n = self.shape[0]
        width = max(1, PANEL // (max(n, 1) * self.dtype.itemsize * columns)) * columns
        rows = range(n) if self.chosen is None else self.chosen.tolist()
        yield from self.source.panels(rows, width)

    def finish(self, part: Tensor) -> Tensor:
        """Return the chosen rows of some columns of a panel, scaled; do not write to them."""
        chosen = self.chosen if isinstance(self.source, Tensor) else None
        if chosen is None and self.factors is None:
            return part
        made = _copied(part, chosen)
        if self.factors is not None:
            _scale(made, self.factors)
        return made

    def blocks(self, columns: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield ``(columns, block [n, <=columns])`` from left to right.

        A block is good only until the next. Do not write to it.
        """
        start = 0
        for panel in self.panels(columns):
            for part in torch.split(panel, columns, dim=1):
                if part.shape[1]:
                    yield slice(start, start + part.shape[1]), self.finish(part)
                start += part.shape[1]

    def row(self, i: int) -> Tensor:
        """Return one row ``[d]``; do not write to it."""
        if isinstance(self.source, Tensor) and self.chosen is None and self.factors is None:
            return self.source[i]
        return self.select(torch.tensor([i])).dense()[0]

    def dense(self) -> Tensor:
        """Return the whole matrix ``[n, d]``; do not write to it.

        Raises:
            ConfigError: the rows are outside memory, and too large for it.
        """
        if isinstance(self.source, Tensor):
            return self.finish(self.source)
        n, d = self.shape
        self.source.check_whole(n)
        made = torch.empty(n, d, dtype=self.dtype)
        for where, block in self.blocks(max(d, 1)):
            made[:, where] = block
        return made

    def select(self, keep: Tensor) -> Rows:
        """Return the rows at the indices ``keep``, or where a mask is true."""
        indices = keep.nonzero().flatten() if keep.dtype == torch.bool else keep
        chosen = indices if self.chosen is None else self.chosen[indices]
        return Rows(self.source, chosen, None if self.factors is None else self.factors[indices])

    def scaled(self, factors: Tensor) -> Rows:
        """Return the rows times ``factors`` ``[n]``, multiplied in float64."""
        wide = factors.double().cpu()
        return Rows(self.source, self.chosen, wide if self.factors is None else self.factors * wide)


def _copied(part: Tensor, chosen: Tensor | None) -> Tensor:
    # Not PyTorch on a CPU: in threads that share blocks it would start threads of its own.
    if part.device.type == "cpu" and part.dtype in (torch.float32, torch.float64):
        array = part.numpy()
        return torch.from_numpy(array.copy() if chosen is None else array[chosen.numpy()])
    return part.clone() if chosen is None else part[chosen]


def _scale(made: Tensor, factors: Tensor) -> None:
    """Multiply rows in place; a factor of 1 leaves every bit alone."""
    cut = (factors != 1.0).nonzero().flatten()
    by = factors[cut][:, None]
    if made.device.type == "cpu" and made.dtype in (torch.float32, torch.float64):
        array = made.numpy()
        array[cut.numpy()] = array[cut.numpy()] * by.numpy()
    else:
        made[cut] = (made[cut].double() * by.to(made.device)).to(made.dtype)


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
class Grouped(Individual):
    """Means of groups of hospitals: each bears its lowest client id, its weight is the group's.

    ``members`` names who is behind each row.
    """

    members: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def with_rows(self, matrix: Tensor) -> Grouped:
        """Return the same delivery with other rows."""
        return Grouped(self.clients, Rows(matrix), self.weights, self.side, self.members)


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
    empty where the rule does not speak about single clients. ``scores`` says how suspicious each
    looks (higher is more), where the rule can tell more finely than by its verdict.
    """

    delta: Tensor
    measurements: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[int, float] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Screened:
    """What a screen returns: the delivery that goes on, and what it did to it.

    Measurements, verdicts and scores are as those of an :class:`Aggregate`. Where rows were
    merged, ``merged`` names the clients behind each: what later stages say of one, they say of all.
    ``monitors`` are scores by detector of a screen that only looks: they count for no verdict.
    """

    delivery: Individual
    measurements: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[int, float] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)
    merged: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    monitors: Mapping[str, Mapping[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """What one client stage did to one row: how far it moved it, relative to it, and its words."""

    moved: float
    said: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What a client returns after local training: its row, claimed weight, telemetry.

    ``home`` is what it keeps for its next round: the server never sees it. ``afresh``: what it
    would have kept was no number, and is thrown away. ``measured`` is what it measured while it
    trained, whatever it reports of it in ``side``, ``steps`` is what its own stages did to the
    row, and ``notes`` what an attack in its place measured: all for the record, not for the server.
    """

    client: int
    row: Tensor
    weight: float
    side: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    home: State = field(default_factory=dict)
    afresh: bool = False
    measured: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    notes: Mapping[str, float] = field(default_factory=dict)


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
