"""MDA: the mean of the n - f rows that lie closest together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Aggregate, Individual, Rows, State
from asepsis.defenses.quorum import require, tolerated

MOST = 24
"""Largest f: the exact search looks at up to 1.47^f sets, 10,000 for this one."""


def smallest(f: int) -> int:
    """Return ``2f + 1``: an honest majority."""
    return 2 * f + 1


def chosen(rows: Rows, f: int) -> tuple[list[int], float]:
    """Return the n - f rows with the smallest diameter, ascending, and that diameter.

    Some set has a diameter of at most t if dropping f rows leaves no pair farther apart than t,
    so a binary search over the n (n - 1) / 2 distances finds the smallest t. Of several sets, the
    first in lexicographic order is taken.
    """
    n = rows.shape[0]
    require("mda", n, f, smallest)
    squared = robust_math.squared_distances(rows)
    limits = sorted({0.0, *squared.flatten().tolist()})
    low, high = 0, len(limits) - 1
    while low < high:
        middle = (low + high) // 2
        fits = coverable(_conflicts(squared, limits[middle]), f)
        low, high = (low, middle) if fits else (middle + 1, high)
    return _first(_conflicts(squared, limits[low]), f), limits[low] ** 0.5


def coverable(conflicts: Sequence[int], f: int) -> bool:
    """Return whether dropping f rows ends all conflicts; bit j of ``conflicts[i]`` is (i, j).

    Either the row with the most conflicts goes, or all rows that it conflicts with do. Where no
    row has more than two, conflicts form paths and cycles: every second row of each must go.

    Example:
        >>> triangle = [0b110, 0b101, 0b011]
        >>> coverable(triangle, 1), coverable(triangle, 2)
        (False, True)
    """
    counts = [row.bit_count() for row in conflicts]
    most = max(counts, default=0)
    if f * most < sum(counts) // 2:
        return False
    if most <= 2:
        return f >= _every_second(conflicts)
    row = counts.index(most)
    if coverable(_without(conflicts, 1 << row), f - 1):
        return True
    return most <= f and coverable(_without(conflicts, conflicts[row]), f - most)


def _conflicts(squared: Tensor, limit: float) -> list[int]:
    far = (squared > limit).tolist()
    return [sum(1 << j for j, is_far in enumerate(row) if is_far) for row in far]


def _without(conflicts: Sequence[int], dropped: int) -> list[int]:
    return [0 if dropped >> i & 1 else row & ~dropped for i, row in enumerate(conflicts)]


def _every_second(conflicts: Sequence[int]) -> int:
    """Count half of each path's or cycle's conflicts, rounded up."""
    total, seen = 0, 0
    for start in range(len(conflicts)):
        reached, before = 1 << start & ~seen, 0
        while reached != before:
            before = reached
            for i, row in enumerate(conflicts):
                if before >> i & 1:
                    reached |= row
        seen |= reached
        ends = sum(row.bit_count() for i, row in enumerate(conflicts) if reached >> i & 1)
        total += (ends // 2 + 1) // 2
    return total


def _first(conflicts: list[int], f: int) -> list[int]:
    """Keep each row in turn, if what it conflicts with can be dropped."""
    kept: list[int] = []
    dropped, enough = 0, len(conflicts) - f
    for i in range(len(conflicts)):
        if len(kept) == enough:
            break
        if dropped >> i & 1:
            continue
        without = _without(conflicts, conflicts[i])
        spare = f - dropped.bit_count() - conflicts[i].bit_count()
        if not conflicts[i] or (spare >= 0 and coverable(without, spare)):
            dropped |= conflicts[i]
            conflicts = without
            kept.append(i)
        else:
            dropped |= 1 << i
            conflicts = _without(conflicts, 1 << i)
    return kept


@register("aggregator", "mda")
class Mda:
    """Average the n - f rows whose largest distance from one another is smallest.

    ``delta = 1/(n - f) sum_{i in S} x_i`` with ``S = argmin max_{i, j in S} |x_i - x_j|`` over
    all sets of n - f rows of x ``[n, d]``. One pair of rows decides a set's diameter, so that
    several sets often share the smallest: the first in lexicographic order is taken, and the ids
    decide, whoever sent the rows. The search is exact for any n; its cost grows by 1.47 with
    every f, which is therefore at most 24. The mean is unweighted: claimed counts are ignored.

    Raises ``QuorumError`` unless n >= 2f + 1.

    Source: El Mhamdi et al., Genuinely Distributed Byzantine Machine Learning (PODC 2020),
    Section 4; the authors enumerate all sets, the search through conflicts is ours.

    Fidelity: code

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[0.0], [1.0], [3.0], [3.5], [1e6]])
        >>> aggregate(rows, "mda", f=2)
        tensor([2.5000])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset({"translation", "breakdown-diameter"})
    why: ClassVar[str] = "it was not in the subset with the smallest diameter"

    f: Annotated[int, Field(ge=0, le=MOST)] = 1

    def smallest(self, spent: int = 0) -> int:
        """Return ``2f + 1``."""
        return smallest(tolerated(self.f, spent))

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Average the round's closest rows."""
        f = tolerated(self.f, context.spent)
        keep, diameter = chosen(delivery.rows, f)
        selected = delivery.rows.select(torch.tensor(keep))
        delta = robust_math.mean(selected).to(selected.dtype)
        verdicts = {client: float(i in keep) for i, client in enumerate(delivery.clients)}
        return state, Aggregate(delta, {"f": float(f), "diameter": diameter}, verdicts)
