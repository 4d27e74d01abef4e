"""CAF: rows far out in the direction of largest variance lose weight until that is small."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Aggregate, Individual, Rows, State
from asepsis.defenses.quorum import require, tolerated

Floats = NDArray[np.float64]


def smallest(f: int) -> int:
    """Return ``2f + 1``: an honest majority."""
    return 2 * f + 1


def filtered(rows: Rows, f: int) -> tuple[Tensor, float, int]:
    """Return the rows' weights ``[n]``, the largest eigenvalue left, and how often they changed.

    Every step takes all weight from one row at least, so there are at most 2f + 1.
    """
    n = rows.shape[0]
    require("caf", n, f, smallest)
    points = robust_math.coordinates(rows).numpy()
    weights = best = np.ones(n)
    smallest_yet, steps = np.inf, 0
    while weights.sum() > n - 2 * f or not steps:
        eigenvalue, outlying = _widest(points, weights)
        if eigenvalue < smallest_yet:
            smallest_yet, best = eigenvalue, weights
        largest = outlying[weights > 0].max()
        if largest == 0:
            break
        weights = weights * np.maximum(1 - outlying / largest, 0.0)
        steps += 1
    return torch.from_numpy(best), float(smallest_yet), steps


def _widest(points: Floats, weights: Floats) -> tuple[float, Floats]:
    """Return the covariance's largest eigenvalue, and how far out each point is along it."""
    total = weights.sum()
    centered = points - (weights[:, None] * points).sum(axis=0) / total
    with robust_math.one_blas_thread():
        scaled = np.sqrt(weights)[:, None] * centered
        _, singular, directions = np.linalg.svd(scaled, full_matrices=False)
        outlying = np.square(centered @ directions[0])
    return float(np.square(singular[0]) / total), outlying


@register("aggregator", "caf")
class Caf:
    """Take weight from rows far out along the widest direction, and keep the tightest mean.

    All rows of x ``[n, d]`` start with c_i = 1. While ``sum c > n - 2f``: the weighted mean mu
    and covariance of the rows, its largest eigenvalue lambda and eigenvector v, and
    ``c_i <- c_i (1 - t_i / max_{c_j > 0} t_j)`` with ``t_i = <x_i - mu, v>^2`` (not below 0).
    delta is the mu that had the smallest lambda. Nothing is assumed about the honest rows'
    covariance. Verdicts are the weights behind delta; claimed counts are ignored.

    byzfl estimates v by one step of the power method from a random vector, and takes the largest
    t over all rows. Then a far row that has lost its weight already keeps all others from losing
    theirs: its loop ends after very many steps, or never. Here v comes from a singular value
    decomposition, and f = 0 gives the plain mean.

    Raises ``QuorumError`` unless n >= 2f + 1.

    Source: Allouah, Guerraoui and Stephan, Towards Trustworthy Federated Learning with Untrusted
    Participants (ICML 2025), the covariance-bound agnostic filter; and byzfl, the authors'
    library.

    Fidelity: code

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[0.0], [1.0], [2.0], [3.0], [1e6]])
        >>> aggregate(rows, "caf", f=1)
        tensor([1.5000])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset(
        {"permutation", "translation", "breakdown-diameter"}
    )
    why: ClassVar[str] = "it lay far out along the direction of widest spread"

    f: Annotated[int, Field(ge=0)] = 1

    def smallest(self, spent: int = 0) -> int:
        """Return ``2f + 1``."""
        return smallest(tolerated(self.f, spent))

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Aggregate one round's delivery."""
        f = tolerated(self.f, context.spent)
        weights, eigenvalue, steps = filtered(delivery.rows, f)
        delta = robust_math.weighted_sum(delivery.rows, weights / weights.sum())
        verdicts = dict(zip(delivery.clients, weights.tolist(), strict=True))
        measurements = {"f": float(f), "eigenvalue": eigenvalue, "steps": float(steps)}
        return state, Aggregate(delta.to(delivery.rows.dtype), measurements, verdicts)
