"""Norm clipping: no row is longer than a bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Screened, State


@register("screen", "norm-clip")
class NormClip:
    """Scale rows down to a largest Euclidean norm.

    ``x_i <- x_i min(1, max_norm / |x_i|)`` over the whole row ``[d]``, buffers and 0-dim
    parameters included. Without ``max_norm``, the bound is the median of the round's row norms.
    Directions stay, so clipping alone bounds one row's influence but does not remove it.

    Source: Sun et al., Can You Really Backdoor Federated Learning? (arXiv 1911.07963), Section
    4.2; the median bound is ours.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
        >>> aggregate(rows, [{"name": "norm-clip", "max_norm": 1.0}, "mean"])
        tensor([0.3000, 0.9000])
    """

    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    why: ClassVar[str] = "its norm was far above the bound"

    max_norm: Annotated[float, Field(gt=0)] | None = None

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Clip one round's rows."""
        norms = robust_math.row_norms(delivery.rows)
        bound = float(norms.quantile(0.5)) if self.max_norm is None else self.max_norm
        factors = torch.where(norms > bound, bound / norms, 1.0)
        verdicts = dict(zip(delivery.clients, factors.tolist(), strict=True))
        measurements = {"clipped": float((factors < 1).double().mean()), "bound": bound}
        return state, Screened(scaled(delivery, factors), measurements, verdicts)


def scaled(delivery: Individual, factors: torch.Tensor) -> Individual:
    """Return the delivery with row i times ``factors[i]``, where that is less than 1."""
    rows = delivery.rows.scaled(factors.clamp(max=1.0))
    return replace(delivery, rows=rows) if bool((factors < 1).any()) else delivery
