"""Multi-Krum: the mean of the rows with the best Krum scores."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Aggregate, Individual, Rows, State
from asepsis.defenses.aggregate.krum import krum_scores, smallest
from asepsis.defenses.quorum import tolerated


def chosen(rows: Rows, f: int) -> Tensor:
    """Return the indices of the n - f rows with the lowest Krum scores, in ascending order."""
    order = torch.sort(krum_scores(rows, f, "multi-krum"), stable=True).indices
    return order[: rows.shape[0] - f].sort().values


@register("aggregator", "multi-krum")
class MultiKrum:
    """Average the n - f rows with the lowest Krum scores.

    Scores are Krum's: the sum of squared distances to the n - f - 2 nearest others, for x
    ``[n, d]``; of equal scores, the lowest client id wins. The mean is unweighted: claimed counts
    are ignored. (byzfl scores over the n - f - 1 nearest, and so may average other rows.)

    Raises ``QuorumError`` unless n >= 2f + 3.

    Source: Blanchard et al., Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent (NeurIPS 2017), Section 4 (m-Krum), with m = n - f.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[0.0], [1.0], [2.0], [3.0], [1e6]])
        >>> aggregate(rows, "multi-krum", f=1)
        tensor([1.5000])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset(
        {"permutation", "translation", "breakdown-diameter"}
    )
    why: ClassVar[str] = "it was far from its nearest neighbors"

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
        """Average the round's best rows."""
        f = tolerated(self.f, context.spent)
        keep = chosen(delivery.rows, f)
        shares = torch.zeros(len(delivery.clients), dtype=torch.float64)
        shares[keep] = 1 / len(keep)
        delta = robust_math.weighted_sum(delivery.rows, shares).to(delivery.rows.dtype)
        kept = set(keep.tolist())
        verdicts = {client: float(i in kept) for i, client in enumerate(delivery.clients)}
        return state, Aggregate(delta, {"f": float(f), "chosen": float(len(kept))}, verdicts)
