"""ARC: clip the longest rows to the next longest."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Screened, State
from asepsis.defenses.quorum import tolerated
from asepsis.defenses.screen.norm_clip import scaled


def clipped_rows(n: int, f: int) -> int:
    """Return ``floor(2 (f / n) (n - f))``, in whole numbers: how many rows are clipped.

    Example:
        >>> clipped_rows(10, 3), clipped_rows(4, 1), clipped_rows(2, 5)
        (4, 1, 0)
    """
    f = min(f, n)
    return 2 * f * (n - f) // n


def bound(norms: Tensor, f: int) -> float:
    """Return the largest norm among those that are not clipped.

    Example:
        >>> bound(torch.tensor([9.0, 1.0, 4.0, 2.0]), f=1)
        4.0
    """
    n = len(norms)
    return float(norms.sort().values[n - 1 - clipped_rows(n, f)])


@register("screen", "arc")
class Arc:
    """Clip the k longest rows to the norm of the next longest (adaptive robust clipping).

    With ``k = floor(2 (f / n) (n - f))`` and norms sorted from the largest, every row of x
    ``[n, d]`` is scaled down to ``C = |x|_(k + 1)``: ``x_i <- x_i min(1, C / |x_i|)``. Longer
    rows are always there, so something is clipped in every round; the bound follows the round
    and needs no tuning. Directions stay. Claimed counts are ignored. ``k`` is computed in whole
    numbers: in floating point, as in byzfl, ``2 f / n (n - f)`` may fall just below an integer
    and clip one row less.

    Source: Allouah et al., Adaptive Gradient Clipping for Robust Federated Learning (ICLR 2025;
    arXiv 2405.14432), and the authors' library byzfl.

    Fidelity: code

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[1.0], [2.0], [4.0], [1e6]])
        >>> aggregate(rows, [{"name": "arc", "f": 1}, "mean"])
        tensor([2.7500])
    """

    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    why: ClassVar[str] = "its norm was far above the next longest"

    f: Annotated[int, Field(ge=0)] = 1

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Clip one round's longest rows."""
        norms = robust_math.row_norms(delivery.rows)
        limit = bound(norms, tolerated(self.f, context.spent))
        factors = torch.where(norms > limit, limit / norms, 1.0)
        verdicts = dict(zip(delivery.clients, factors.tolist(), strict=True))
        measurements = {"clipped": float((factors < 1).double().mean()), "bound": limit}
        return state, Screened(scaled(delivery, factors), measurements, verdicts)
