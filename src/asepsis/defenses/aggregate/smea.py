"""SMEA: the mean of the n - f rows that vary least in their widest direction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from asepsis.core import robust_math
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Aggregate, Individual, Rows, State
from asepsis.defenses.quorum import require, tolerated

LIMIT = 20_000
"""Most sets that are compared: n = 20 with f = 5 has 15,504."""

CLOSE = 1e-9
"""Eigenvalues that differ by less, relatively, are equal but for rounding."""

BYTES = 1 << 26
"""Of the sets whose eigenvalues are computed together, with what is made of them."""

Floats = NDArray[np.float64]


def smallest(f: int) -> int:
    """Return ``2f + 1``: an honest majority."""
    return 2 * f + 1


def check_sets(n: int, f: int) -> None:
    """Refuse to compare more than :data:`LIMIT` sets of n - f rows.

    Raises:
        ConfigError: naming how many there are.
    """
    if math.comb(n, f) > LIMIT:
        raise ConfigError(
            f"smea compares all sets of n - f rows, at most {LIMIT:,}",
            got=f"{math.comb(n, f):,} sets for n = {n} and f = {f}",
            fix="take a smaller f or cohort, or caf, which weighs rows instead",
        )


def chosen(rows: Rows, f: int) -> tuple[list[int], float]:
    """Return the n - f rows of smallest largest eigenvalue, ascending, and that eigenvalue.

    Raises:
        ConfigError: there are more than :data:`LIMIT` sets of n - f rows.
    """
    n = rows.shape[0]
    require("smea", n, f, smallest)
    check_sets(n, f)
    points = robust_math.coordinates(rows).numpy()
    sets = list(itertools.combinations(range(n), n - f))
    with robust_math.one_blas_thread():
        widest = np.concatenate(list(_eigenvalues(points, sets)))
    best = int(np.flatnonzero(widest <= widest.min() * (1 + CLOSE))[0])
    return list(sets[best]), float(widest[best])


def _eigenvalues(points: Floats, sets: list[tuple[int, ...]]) -> Iterator[Floats]:
    # A set's rows, the same centered, and their products, for which eigvalsh takes as much again.
    kept, columns = len(sets[0]), points.shape[1]
    size = 2 * kept * columns + 2 * min(kept, columns) ** 2
    together = max(1, BYTES // (size * points.itemsize))
    for start in range(0, len(sets), together):
        some = points[np.array(sets[start : start + together])]
        centered = some - some.mean(axis=1, keepdims=True)
        flipped = np.swapaxes(centered, 1, 2)
        # Both products have the same nonzero eigenvalues: take the smaller.
        square = centered @ flipped if some.shape[1] < some.shape[2] else flipped @ centered
        yield np.linalg.eigvalsh(square)[:, -1] / some.shape[1]


@register("aggregator", "smea")
class Smea:
    """Average the n - f rows whose covariance has the smallest largest eigenvalue.

    ``delta = 1/(n - f) sum_{i in S} x_i`` with ``S = argmin lambda_max(Cov_S)`` over all sets of
    n - f rows of x ``[n, d]``, and ``Cov_S = 1/(n - f) sum_{i in S} (x_i - mean_S)(x_i -
    mean_S)^T``; of several, the first in lexicographic order (the lowest client ids). All sets
    are compared: at most 20,000. Claimed counts are ignored. (byzfl estimates the eigenvalue by
    one step of the power method from a random vector: its choice changes from call to call.)

    Raises ``QuorumError`` unless n >= 2f + 1, and ``ConfigError`` for more sets than that.

    Source: Allouah et al., On the Privacy-Robustness-Utility Trilemma in Distributed Learning
    (ICML 2023), Section 5; and byzfl, the authors' library.

    Fidelity: code

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[0.0], [1.0], [3.0], [3.5], [1e6]])
        >>> aggregate(rows, "smea", f=2)
        tensor([2.5000])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset(
        {"permutation", "translation", "breakdown-diameter"}
    )
    why: ClassVar[str] = "it was not in the subset with the smallest spread"

    f: Annotated[int, Field(ge=0)] = 1

    def smallest(self, spent: int = 0) -> int:
        """Return ``2f + 1``."""
        return smallest(tolerated(self.f, spent))

    def check_cohort(self, n: int) -> None:
        """Refuse a cohort of more sets than are ever compared.

        Raises:
            ConfigError: as :func:`check_sets`.
        """
        check_sets(n, self.f)

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Average the round's least varying rows."""
        f = tolerated(self.f, context.spent)
        keep, widest = chosen(delivery.rows, f)
        selected = delivery.rows.select(torch.tensor(keep))
        delta = robust_math.mean(selected).to(selected.dtype)
        verdicts = {client: float(i in keep) for i, client in enumerate(delivery.clients)}
        return state, Aggregate(delta, {"f": float(f), "eigenvalue": widest}, verdicts)
