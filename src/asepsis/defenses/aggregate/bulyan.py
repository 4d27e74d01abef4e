"""Bulyan: Krum chooses rows, then every coordinate is averaged around its median."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Aggregate, Individual, Rows, State
from asepsis.defenses.aggregate.krum import scores
from asepsis.defenses.quorum import require, tolerated


def smallest(f: int) -> int:
    """Return ``4f + 3``."""
    return 4 * f + 3


def chosen(rows: Rows, f: int) -> Tensor:
    """Return the indices of the n - 2f rows that Krum picks one after another, ascending.

    Every pick is made among the k rows that remain, over the ``max(k - f - 2, 1)`` nearest.
    """
    n = rows.shape[0]
    require("bulyan", n, f, smallest)
    squared = robust_math.squared_distances(rows)
    remaining, picked = list(range(n)), []
    for k in range(n, 2 * f, -1):
        neighbors = min(max(k - f - 2, 1), k - 1)
        score = scores(squared[remaining][:, remaining], neighbors)
        picked.append(remaining.pop(int(np.argmin(score.numpy()))))
    return torch.tensor(sorted(picked))


@register("aggregator", "bulyan")
class Bulyan:
    """Let Krum choose n - 2f rows, then average the values nearest each coordinate's median.

    theta = n - 2f rows of x ``[n, d]`` are picked one after another, each by Krum on the k rows
    that remain (scores over the max(k - f - 2, 1) nearest others; ties to the lowest client id).
    Of these, per coordinate, delta is the mean of the beta = theta - 2f values nearest their
    median. Claimed counts are ignored. With f = 1 or 2, the last picks score a single neighbor,
    and two rows that are each other's nearest tie: there the ids decide, whoever sent the rows.

    Raises ``QuorumError`` unless n >= 4f + 3.

    Source: El Mhamdi et al., The Hidden Vulnerability of Distributed Learning in Byzantium
    (ICML 2018), Section 4.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [1e6]])
        >>> aggregate(rows, "bulyan", f=1)
        tensor([2.])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset({"translation", "breakdown-range"})
    why: ClassVar[str] = "it was far from its nearest neighbors"

    f: Annotated[int, Field(ge=0)] = 1

    def smallest(self, spent: int = 0) -> int:
        """Return ``4f + 3``."""
        return smallest(tolerated(self.f, spent))

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Aggregate one round's delivery."""
        f = tolerated(self.f, context.spent)
        keep = chosen(delivery.rows, f)
        selected = delivery.rows.select(keep)
        delta = robust_math.mean_around_median(selected, len(keep) - 2 * f)
        kept = set(keep.tolist())
        verdicts = {client: float(i in kept) for i, client in enumerate(delivery.clients)}
        measurements = {"f": float(f), "chosen": float(len(kept))}
        return state, Aggregate(delta.to(selected.dtype), measurements, verdicts)
