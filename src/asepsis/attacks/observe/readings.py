"""What a curious server measures of its candidates in the updates of one round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal

import torch
from torch import Tensor

from asepsis.core.samples import Shard
from asepsis.core.threat import Evidence, Learner, ServerView
from asepsis.core.updates import Grouped, Individual

FLOATS = 1 << 24
"""Per-sample gradients are held for so many coordinates at once."""
LARGEST = 1e30
"""Measurements are cut here: masked messages make models whose losses overflow."""

Reads = Literal["delivery", "messages"]


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Updates ``[k, d]`` and who sent them; of a sum the average alone, and nobody.

    ``members`` are those behind the update of a group, by the client whose id it bears.
    """

    clients: tuple[int, ...]
    rows: Tensor
    members: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def shared(self, scores: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Return scores ``[n, k]`` with a column a hospital, and the hospitals.

        What is measured of a group is measured of all in it.

        Example:
            >>> two = Readings((0, 1), torch.zeros(2, 3), {0: (0, 2), 1: (1, 3)})
            >>> two.shared(torch.tensor([[5.0, 7.0]]))
            (tensor([[5., 5., 7., 7.]]), (0, 2, 1, 3))
        """
        groups = [self.members.get(client, (client,)) for client in self.clients]
        columns = [i for i, group in enumerate(groups) for _ in group]
        clients = tuple(client for group in groups for client in group)
        return (scores[:, columns] if clients else scores), clients


def readings(view: ServerView, reads: Reads = "delivery") -> Readings | None:
    """Return what the server takes for updates; ``None`` when a sum has no weight.

    ``messages`` are the masked vectors that passed the channel, each scaled to the length of the
    average update, which the sum tells: a mask makes them so long that no model would answer
    otherwise. Where nothing was masked they are the delivery.
    """
    if isinstance(view.delivery, Individual):
        groups = view.delivery.members if isinstance(view.delivery, Grouped) else {}
        return Readings(view.delivery.clients, view.delivery.rows.dense(), groups)
    if not view.delivery.weight > 0:
        return None
    average = (view.delivery.total / view.delivery.weight)[None].to(view.sent)
    if reads == "delivery" or not view.wire:
        return Readings((), average)
    clients = tuple(sorted(view.wire))
    passed = unit(torch.stack([view.wire[k] for k in clients]).double())
    return Readings(clients, (passed * average.double().norm()).to(view.sent))


def confidences(view: ServerView, found: Readings, candidates: Shard) -> Tensor:
    """Return minus the loss of every candidate under every local model, float64 ``[n, k]``.

    A local model is what the hospital received plus its update.
    """
    columns = []
    for k in range(len(found.rows)):
        received = view.told.get(found.clients[k], view.sent) if found.clients else view.sent
        losses = view.learner.losses(
            received + found.rows[k], candidates.inputs, candidates.targets
        )
        columns.append(-losses.double())
    return finite(torch.stack(columns, dim=1))


def cosines(view: ServerView, found: Readings, candidates: Shard) -> Tensor:
    """Return the cosine of minus every update with every candidate's gradient, ``[n, k]``.

    Over the columns of parameters; 0 where either is zero. Gradients are taken at what was sent,
    a chunk of candidates at a time, and a chunk meets all updates in one product.
    """
    columns = view.learner.parameters
    rows = -found.rows[:, :columns].to(torch.float64).nan_to_num(0.0, 0.0, 0.0)
    rows = unit(rows)
    parts = [
        unit(chunk[:, :columns].double().nan_to_num(0.0, 0.0, 0.0)) @ rows.T
        for chunk in gradients(view.learner, view.sent, candidates)
    ]
    return torch.cat(parts)


def gradients(learner: Learner, row: Tensor, samples: Shard) -> Iterator[Tensor]:
    """Yield per-sample gradients ``[<=chunk, d]`` in order, few enough at a time for memory."""
    size = max(1, FLOATS // max(len(row), 1))
    for inputs, targets in zip(
        torch.split(samples.inputs, size), torch.split(samples.targets, size), strict=True
    ):
        yield learner.gradients(row, inputs, targets)


def unit(rows: Tensor) -> Tensor:
    """Return rows of length 1; zero rows stay zero.

    Example:
        >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    largest = rows.abs().amax(dim=1, keepdim=True)
    scaled = rows / torch.where(largest > 0, largest, torch.ones_like(largest))
    norms = scaled.norm(dim=1, keepdim=True)
    return scaled / torch.where(norms > 0, norms, torch.ones_like(norms))


def finite(measured: Tensor) -> Tensor:
    """Cut measurements to finite ones; one that is no number is the lowest."""
    return measured.nan_to_num(-inf).clamp(-LARGEST, LARGEST)


def membership(
    scores: Tensor, clients: tuple[int, ...], measurements: dict[str, float] | None = None
) -> Evidence:
    """Wrap scores ``[n, k]`` as evidence: one column is nobody's where no clients are named."""
    kept = scores if clients else scores[:, 0]
    return Evidence("membership", {"scores": kept}, None, clients, measurements or {})
