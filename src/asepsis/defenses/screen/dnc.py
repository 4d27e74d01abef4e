"""Divide and Conquer: drop the rows that stand out along the direction of greatest spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.errors import QuorumError
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Rows, Screened, State
from asepsis.defenses.quorum import require, tolerated

Draw = NDArray[np.int64]


def outlyingness(rows: Rows) -> Tensor:
    """Return every row's squared projection on the top singular vector of the centered rows.

    Example:
        >>> [round(v, 6) for v in outlyingness(Rows(torch.tensor([[0.0], [1.0], [5.0]]))).tolist()]
        [4.0, 1.0, 9.0]
    """
    center = robust_math.mean(rows)
    with robust_math.one_blas_thread():
        centered = rows.dense().double().cpu().numpy() - center.cpu().numpy()
        left = np.linalg.eigh(centered @ centered.T)[1][:, -1]
    direction = torch.from_numpy(left @ centered).to(center.device)
    # Denormal rows have no direction that float64 could tell.
    unit = direction / direction.norm().clamp(min=np.finfo(np.float64).tiny)
    return robust_math.inner_products(rows, unit, center).square()


def gathered(rows: Rows, draws: Sequence[Draw]) -> list[Rows]:
    """Return the columns of every draw (indices, ascending), read in one pass.

    Example:
        >>> rows = Rows(torch.arange(6.0).reshape(2, 3))
        >>> [part.dense().tolist() for part in gathered(rows, [np.array([0, 2])])]
        [[[0.0, 2.0], [3.0, 5.0]]]
    """
    parts: list[list[Tensor]] = [[] for _ in draws]
    for where, block in rows.blocks(robust_math.COLUMNS):
        for drawn, part in zip(draws, parts, strict=True):
            low, high = np.searchsorted(drawn, (where.start, where.stop))
            inside = torch.from_numpy(drawn[low:high] - where.start).to(block.device)
            part.append(block[:, inside])
    return [Rows(torch.cat(part, dim=1)) for part in parts]


def dropped_rows(fraction: float, f: int) -> int:
    """Return how many rows an iteration drops: ``ceil(fraction f)``.

    Example:
        >>> dropped_rows(1.0, 2), dropped_rows(1.5, 1), dropped_rows(0.1, 30)
        (2, 2, 3)
    """
    return math.ceil(round(fraction * f, 9))


@register("screen", "dnc")
class Dnc:
    """Drop rows that stand out along the direction of greatest spread (Divide and Conquer).

    ``iterations`` times: draw ``coordinates`` columns of x ``[n, d]`` at random (all where d is
    smaller), subtract their mean, take the top right singular vector v, score every row by
    ``<x_i - mean, v>^2`` and keep the ``n - ceil(fraction f)`` lowest (of equal scores, the
    lowest client ids). Rows kept in every iteration go on. Something is dropped in every round,
    attacked or not: the rule behind must work with fewer. ``scores`` are the shares of the spread
    along v, averaged over iterations. Claimed counts pass through.

    Raises ``QuorumError`` where ``n <= ceil(fraction f)``, or where no row is kept in all
    iterations.

    Source: Shejwalkar and Houmansadr, Manipulating the Byzantine: Optimizing Model Poisoning
    Attacks and Defenses for Federated Learning (NDSS 2021), Divide-and-Conquer.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[1.0], [2.0], [3.0], [1e6]])
        >>> aggregate(rows, [{"name": "dnc", "f": 1}, "mean"])
        tensor([2.])
    """

    claims: ClassVar[frozenset[str]] = frozenset()
    why: ClassVar[str] = "it stood out along the direction of greatest spread"

    f: Annotated[int, Field(ge=0)] = 1
    iterations: Annotated[int, Field(ge=1, le=1000)] = 5
    coordinates: Annotated[int, Field(ge=1)] = 10_000
    fraction: Annotated[float, Field(ge=0, le=100)] = 1.0

    def smallest(self, spent: int = 0) -> int:
        """Return one more than an iteration drops."""
        return dropped_rows(self.fraction, tolerated(self.f, spent)) + 1

    def rows_left(self, rows: int) -> int:
        """Return how many rows are left at most: an iteration drops the same number always."""
        return rows - dropped_rows(self.fraction, self.f)

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Filter one round's rows."""
        n = delivery.rows.shape[0]
        f = tolerated(self.f, context.spent)
        require("dnc", n, f, lambda g: dropped_rows(self.fraction, g) + 1)
        score = self._scores(delivery.rows, context)
        order = torch.sort(score, dim=1, stable=True).indices
        kept = order[:, : n - dropped_rows(self.fraction, f)]
        votes = torch.bincount(kept.flatten(), minlength=n)
        good = votes == self.iterations
        if not bool(good.any()):
            raise QuorumError("dnc keeps no row in all iterations", got=n, fix="take fewer of them")
        share = score / score.sum(dim=1, keepdim=True).clamp(min=np.finfo(np.float64).tiny)
        return state, Screened(
            delivery.select(good.nonzero().flatten()),
            {"dropped": float(n - int(good.sum())), "f": float(f)},
            dict(zip(delivery.clients, good.double().tolist(), strict=True)),
            dict(zip(delivery.clients, share.mean(dim=0).tolist(), strict=True)),
        )

    def _scores(self, rows: Rows, context: ServerContext) -> Tensor:
        """Return every iteration's scores ``[iterations, n]``."""
        d = rows.shape[1]
        if self.coordinates >= d:
            return outlyingness(rows).expand(self.iterations, -1)
        draws = [
            np.sort(context.rng.choice(d, self.coordinates, replace=False))
            for _ in range(self.iterations)
        ]
        return torch.stack([outlyingness(part) for part in gathered(rows, draws)])
