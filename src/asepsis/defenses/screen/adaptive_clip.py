"""Adaptive clipping: a bound that follows a quantile of the norms over rounds."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Screened, State
from asepsis.defenses.screen.norm_clip import scaled

SMALLEST, LARGEST = 1e-100, 1e100
"""A bound that is always exceeded, or never, must still be a number after a million rounds."""


def next_bound(bound: float, below: float, quantile: float, rate: float) -> float:
    """Return ``bound exp(-rate (below - quantile))``, ``below`` the share of norms within it.

    Example:
        >>> next_bound(2.0, 0.5, quantile=0.5, rate=0.2)
        2.0
        >>> round(next_bound(2.0, 0.0, quantile=0.5, rate=0.2), 4)
        2.2103
    """
    return min(max(bound * math.exp(-rate * (below - quantile)), SMALLEST), LARGEST)


def first_bound(norms: Tensor) -> float:
    """Return the median norm, of an even number the lower of the middle two.

    Example:
        >>> first_bound(torch.tensor([1.0, 1e38, 3.0, 2.0]))
        2.0
    """
    return float(norms.sort().values[(len(norms) - 1) // 2])


@register("screen", "adaptive-clip")
class AdaptiveClip:
    """Clip rows to a bound that tracks a quantile of the row norms over rounds.

    Round t clips ``x_i <- x_i min(1, C_t / |x_i|)`` for x ``[n, d]``; then, with ``b`` the share
    of rows with ``|x_i| <= C_t`` (plus ``N(0, noise^2) / n`` where ``noise`` is set),
    ``C_{t+1} = C_t exp(-rate (b - quantile))``. Without noise, one round moves the bound by at
    most a factor of ``exp(rate)``, whatever hostile hospitals send. ``initial`` is C_0 (the paper
    starts at 0.1). Without it, C_0 is the median of the first round's norms (of an even number,
    the lower of the middle two), whatever the quantile, which is ours: fewer than half hostile
    rows cannot move it out of the range of honest norms, as they could a quantile of 0.9 or 0.1. A
    median of 0 bounds its own round only, and the next sets C_0 again. Claimed counts are ignored.
    The server sees every norm: the private count of the paper is kept as an option, the accounting
    is not.

    Source: Andrew et al., Differentially Private Learning with Adaptive Clipping (NeurIPS 2021;
    arXiv 1905.03871), with geometric updates.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[1.0], [2.0], [1e6]])
        >>> aggregate(rows, ["adaptive-clip", "mean"])
        tensor([1.6667])
    """

    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    needs: ClassVar[frozenset[str]] = frozenset({"history"})
    why: ClassVar[str] = "its norm was far above the bound"

    quantile: Annotated[float, Field(ge=0, le=1)] = 0.5
    rate: Annotated[float, Field(gt=0, le=10)] = 0.2
    initial: Annotated[float, Field(gt=0, le=1e30)] | None = None
    noise: Annotated[float, Field(ge=0, le=1e6)] = 0.0

    def init(self, dim: int) -> State:
        """Return the first bound; 0 stands for none yet."""
        return {"bound": torch.tensor(self.initial or 0.0, dtype=torch.float64)}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Clip one round's rows to this round's bound, and set the next."""
        norms = robust_math.row_norms(delivery.rows)
        bound = float(state["bound"]) or first_bound(norms)
        below = float((norms <= bound).double().mean())
        counted = below + self.noise * float(context.rng.normal()) / len(norms)
        # By factors, a bound of 0 would take a thousand rounds to become one of any use.
        after = next_bound(bound, counted, self.quantile, self.rate) if bound > 0 else 0.0
        factors = torch.where(norms > bound, bound / norms, 1.0)
        verdicts = dict(zip(delivery.clients, factors.tolist(), strict=True))
        measurements = {"clipped": 1.0 - below, "bound": bound, "next_bound": after}
        screened = Screened(scaled(delivery, factors), measurements, verdicts)
        return {"bound": torch.tensor(after, dtype=torch.float64)}, screened
