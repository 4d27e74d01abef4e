"""Centered clipping: clip every row around the last aggregate."""

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


def sequential_clipping(
    rows: Rows, center: Tensor, radius: float, steps: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return the center after ``steps`` passes over the rows, and the last pass's factors ``[n]``.

    Every pass takes the rows in a new random order, and moves the center after each of them.
    """
    n = rows.shape[0]
    require("centered-clipping", n, 0, lambda _: 1)
    factors = torch.ones(n, dtype=torch.float64)
    for _ in range(steps):
        for i in rng.permutation(n).tolist():
            one = rows.row(i)
            distance = robust_math.row_norms(Rows(one[None]), center)[0]
            factors[i] = (radius / distance).clamp(max=1.0)
            center = center + (one.double() - center) * (factors[i] / n)
    return center, factors


@register("aggregator", "centered-clipping")
class CenteredClipping:
    """Average the rows after clipping their distance to the previous aggregate.

    From the momentum v (the last round's aggregate, at first zero), ``steps`` times
    ``v <- v + 1/n sum_i (x_i - v) min(1, radius / |x_i - v|)`` for x ``[n, d]``; delta = v. With
    ``momentum = false`` every round starts from zero. Claimed counts are ignored. A hostile row
    moves the result by at most radius / n a step.

    With ``sequential``, v moves after every row: ``steps`` passes over the rows, each in a new
    random order, ``v <- v + 1/n (x_i - v) min(1, radius / |x_i - v|)``. No attacker then knows
    the point that its row is clipped around. (Ozfatura et al. clip bucket after bucket of about
    three rows, in one pass, and move v by each bucket's mean instead of 1/n of a row.)

    Raises ``QuorumError`` for an empty cohort.

    Source: Karimireddy et al., Learning from History for Byzantine Robust Optimization
    (ICML 2021), Section 4, with several steps a round; for ``sequential``, Ozfatura et al.,
    Byzantines Can Also Learn From History (IEEE TIFS 2024), changed as said.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[1.0], [1.0], [1.0], [1e6]])
        >>> aggregate(rows, "centered-clipping", radius=4.0, steps=1)
        tensor([1.7500])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    why: ClassVar[str] = "it was far from the last aggregate"

    radius: Annotated[float, Field(gt=0)] = 10.0
    steps: Annotated[int, Field(ge=1)] = 5
    momentum: bool = True
    sequential: bool = False

    @property
    def claims(self) -> frozenset[str]:
        """Who sent which row does not matter, unless rows are taken in a random order."""
        return frozenset() if self.sequential else frozenset({"permutation"})

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
        rows = delivery.rows
        start = state["momentum"].to(rows.device)
        start = start if self.momentum else torch.zeros_like(start)
        center, factors = (
            sequential_clipping(rows, start, self.radius, self.steps, context.rng)
            if self.sequential
            else centered_clipping(rows, start, self.radius, self.steps)
        )
        verdicts = dict(zip(delivery.clients, factors.tolist(), strict=True))
        measurements = {"clipped": float((factors < 1).double().mean())}
        return {"momentum": center.cpu()}, Aggregate(center.to(rows.dtype), measurements, verdicts)
