"""Nearest-neighbor mixing: every row becomes the mean of its neighborhood."""

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

CLOSE = 1e-9
"""Squared distances that differ by less, relatively, are equal but for rounding."""


def neighborhoods(squared: Tensor, size: int) -> Tensor:
    """Return which rows are among the ``size`` nearest of each, itself included (bool ``[n, n]``).

    A row itself is nearest, also among its copies; of rows equally near, the earlier ones.

    Example:
        >>> squared = torch.tensor([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]])
        >>> neighborhoods(squared, 2).int().tolist()
        [[1, 1, 0], [1, 1, 0], [0, 1, 1]]
    """
    near = torch.sort(_self_first(squared), dim=1, stable=True).indices[:, :size]
    return torch.zeros(squared.shape, dtype=torch.bool).scatter_(1, near, True)


def shares_held(squared: Tensor, size: int) -> Tensor:
    """Return to what share each row counts among the ``size`` nearest of each (``[n, n]``).

    As :func:`neighborhoods`, but rows equally near share the last places.

    Example:
        >>> shares_held(torch.zeros(3, 3), 2).tolist()
        [[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]
    """
    ranked = _self_first(squared)
    last = ranked.sort(dim=1).values[:, size - 1 : size]
    tied = (ranked - last).abs() <= CLOSE * last.abs()
    nearer = (ranked < last) & ~tied
    places = (size - nearer.sum(dim=1, keepdim=True)) / tied.sum(dim=1, keepdim=True)
    return nearer.double() + tied.double() * places


def _self_first(squared: Tensor) -> Tensor:
    return squared.clone().fill_diagonal_(-1.0)


@register("screen", "nnm")
class Nnm:
    """Replace every row by the mean of its n - f nearest rows, itself included.

    ``x_i <- 1/(n - f) sum_{j in N_i} x_j`` for x ``[n, d]``, N_i the n - f rows with the
    smallest ``|x_i - x_j|``; of rows equally near, the lowest client ids. As many rows go on as
    came in, and the rule behind takes the same f. Hostile rows are not dropped: what goes on
    under a hostile id is a mix of mostly honest rows, so the rule's verdicts about it say little.
    The verdict on a client is the share of the n - f mixes it could count on that hold its row,
    at most 1; its score is the share of all mixes that do not. In both, rows equally near are
    credited alike: they share the places that there are. Claimed counts pass through. At least the
    row itself is kept, also where f >= n.

    Source: Allouah et al., Fixing by Mixing: A Recipe for Optimal Byzantine ML under
    Heterogeneity (AISTATS 2023; arXiv 2302.01772), and the authors' library byzfl.

    Fidelity: code

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[0.0], [1.0], [2.0], [1e6]])
        >>> aggregate(rows, [{"name": "nnm", "f": 1}, {"name": "median"}])
        tensor([1.])
    """

    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    why: ClassVar[str] = "it was among the nearest neighbors of few"

    f: Annotated[int, Field(ge=0)] = 1

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Mix one round's rows."""
        rows = delivery.rows
        n = rows.shape[0]
        size = max(n - tolerated(self.f, context.spent), 1)
        squared = robust_math.squared_distances(rows)
        near, held = neighborhoods(squared, size), shares_held(squared, size).sum(dim=0)
        mixed = delivery.with_rows(robust_math.mixtures(rows, near.double() / size))
        verdicts = dict(zip(delivery.clients, (held / size).clamp(max=1.0).tolist(), strict=True))
        scores = dict(zip(delivery.clients, (1.0 - held / n).tolist(), strict=True))
        return state, Screened(mixed, {"neighbors": float(size)}, verdicts, scores)
