"""Centered clipping: clip every row around the last aggregate."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.contracts import ServerContext
from asepsis.core.registry import register
from asepsis.core.updates import Aggregate, Individual, Rows, State
from asepsis.defenses.quorum import require


def centered_clipping(
    rows: Rows, center: Tensor, radius: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the center after ``steps`` (float64 ``[d]``) and the last step's factors ``[n]``."""
    require("centered-clipping", rows.shape[0], 0, lambda _: 1)
    factors = torch.ones(rows.shape[0], dtype=torch.float64)
    for _ in range(steps):
        factors = (radius / robust_math.row_norms(rows, center)).clamp(max=1.0)
        center = center - center * factors.mean()
        center = center + robust_math.weighted_sum(rows, factors / rows.shape[0])
    return center, factors


@register("aggregator", "centered-clipping")
class CenteredClipping:
    """Average the rows after clipping their distance to the previous aggregate.

    From the momentum v (the last round's aggregate, at first zero), ``steps`` times
    ``v <- v + 1/n sum_i (x_i - v) min(1, radius / |x_i - v|)`` for x ``[n, d]``; delta = v. With
    ``momentum = false`` every round starts from zero. Claimed counts are ignored. A hostile row
    moves the result by at most radius / n a step.

    Raises ``QuorumError`` for an empty cohort.

    Source: Karimireddy et al., Learning from History for Byzantine Robust Optimization
    (ICML 2021), Section 4, with several steps a round.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[1.0], [1.0], [1.0], [1e6]])
        >>> aggregate(rows, "centered-clipping", radius=4.0, steps=1)
        tensor([1.7500])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})

    radius: Annotated[float, Field(gt=0)] = 10.0
    steps: Annotated[int, Field(ge=1)] = 5
    momentum: bool = True

    def smallest(self, spent: int = 0) -> int:
        """Return 1: any cohort will do."""
        return 1

    def init(self, dim: int) -> State:
        """Return zero momentum."""
        return {"momentum": torch.zeros(dim, dtype=torch.float64)}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Aggregate one round's delivery; the result is the next round's momentum."""
        like = delivery.rows.matrix
        start = state["momentum"].to(like.device)
        start = start if self.momentum else torch.zeros_like(start)
        center, factors = centered_clipping(delivery.rows, start, self.radius, self.steps)
        verdicts = dict(zip(delivery.clients, factors.tolist(), strict=True))
        measurements = {"clipped": float((factors < 1).double().mean())}
        return {"momentum": center.cpu()}, Aggregate(center.to(like.dtype), measurements, verdicts)
