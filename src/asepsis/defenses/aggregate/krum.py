"""Krum: the row whose nearest neighbors are nearest."""

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
from asepsis.defenses.quorum import require, tolerated


def smallest(f: int) -> int:
    """Return ``2f + 3``: Krum is proven for 2f + 2 < n."""
    return 2 * f + 3


def scores(squared: Tensor, neighbors: int) -> Tensor:
    """Sum each row's squared distances to its ``neighbors`` nearest other rows ``[n]``.

    Example:
        >>> squared = torch.tensor([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]])
        >>> scores(squared, 1).tolist()
        [1.0, 1.0, 4.0]
    """
    others = squared.double().clone().fill_diagonal_(torch.inf).numpy()
    return torch.from_numpy(np.sort(others, axis=1)[:, :neighbors].sum(axis=1))


def krum_scores(rows: Rows, f: int, rule: str = "krum") -> Tensor:
    """Return every row's Krum score ``[n]``: over the n - f - 2 nearest others."""
    n = rows.shape[0]
    require(rule, n, f, smallest)
    return scores(robust_math.squared_distances(rows), n - f - 2)


@register("aggregator", "krum")
class Krum:
    """Return the single row that is closest to its nearest neighbors.

    ``delta = x_k`` with ``k = argmin_i sum_{j -> i} |x_i - x_j|^2`` over the n - f - 2 rows j
    nearest to i, for x ``[n, d]``; of equal scores, the lowest client id wins. Claimed counts are
    ignored. (byzfl sums over the n - f - 1 nearest, and so may choose another row.)

    Raises ``QuorumError`` unless n >= 2f + 3.

    Source: Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent (NeurIPS 2017), Section 4.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[0.0], [1.0], [1.5], [3.0], [1e6]])
        >>> aggregate(rows, "krum", f=1)
        tensor([1.])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset(
        {"permutation", "translation", "breakdown-diameter"}
    )
    why: ClassVar[str] = "another update was nearer its nearest neighbors"

    f: Annotated[int, Field(ge=0)] = 1

    def smallest(self, spent: int = 0) -> int:
        """Return ``2f + 3``."""
        return smallest(tolerated(self.f, spent))

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Choose one of the round's rows."""
        f = tolerated(self.f, context.spent)
        score = krum_scores(delivery.rows, f)
        best = int(np.argmin(score.numpy()))
        delta = delivery.rows.select(torch.tensor([best])).dense()[0]
        verdicts = {client: float(i == best) for i, client in enumerate(delivery.clients)}
        return state, Aggregate(delta, {"f": float(f), "score": float(score[best])}, verdicts)
