"""Sparsification: only the largest coordinates of every row count."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Screened, State


def top_k(row: Tensor, k: int) -> Tensor:
    """Return the row ``[d]`` with all but its k largest magnitudes 0; of equal ones, the first.

    Example:
        >>> top_k(torch.tensor([1.0, -3.0, 2.0, -2.0]), 2).tolist()
        [0.0, -3.0, 2.0, 0.0]
    """
    size = row.abs().cpu().numpy()
    cut = np.partition(size, len(size) - k)[len(size) - k]
    above, tied = size > cut, size == cut
    keep = above | (tied & (np.cumsum(tied) <= k - np.count_nonzero(above)))
    return torch.where(torch.from_numpy(keep).to(row.device), row, torch.zeros_like(row))


@register("screen", "sparsify")
class Sparsify:
    """Keep the k largest coordinates of every row and set the others to zero.

    For x ``[n, d]`` and ``k = ceil(keep d)``, at least 1: ``x_ij`` stays where ``|x_ij|`` is
    among the k largest of row i (of equal magnitudes, the leftmost), else it becomes 0; buffers
    are columns like any other. This is what a server can do to rows that it receives whole: it
    saves no traffic. Hospitals that sparsify would keep what they left out and add it next time
    (error feedback); a server that holds such residuals would feed back hostile ones, so none are
    kept, and small coordinates are lost for good. A verdict is the share of the row's squared
    norm that is kept. Claimed counts pass through.

    Source: Alistarh et al., The Convergence of Sparsified Gradient Methods (NeurIPS 2018;
    arXiv 1809.10505), Section 2 (top-k), without its error feedback.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[3.0, 1.0], [-1.0, 5.0]])
        >>> aggregate(rows, [{"name": "sparsify", "keep": 0.5}, "mean"])
        tensor([1.5000, 2.5000])
    """

    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    why: ClassVar[str] = "its largest coordinates hold little of it"

    keep: Annotated[float, Field(gt=0, le=1)] = 0.1

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Sparsify one round's rows."""
        rows = delivery.rows
        n, d = rows.shape
        k = max(math.ceil(round(self.keep * d, 9)), 1)
        sparse = delivery.with_rows(torch.stack([top_k(rows.row(i), k) for i in range(n)]))
        before = robust_math.row_norms(rows)
        kept = robust_math.row_norms(sparse.rows) / before
        shares = torch.where(before > 0, kept, 1.0).clamp(max=1.0).square()
        verdicts = dict(zip(delivery.clients, shares.tolist(), strict=True))
        measurements = {"coordinates": float(k), "energy": float(shares.mean())}
        return state, Screened(sparse, measurements, verdicts)
