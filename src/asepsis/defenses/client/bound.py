"""The bound on a row's norm: the hospital's own, the one that the server tells, or both."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

BOUND = "clip_bound"
"""Under this name a server stage announces a bound."""

WITHIN = "within_bound"
"""Under this name a hospital says whether its row was within the bound that it was told."""


def bound_of(own: float | None, told: Mapping[str, float]) -> float:
    """Return the smaller of what a hospital was configured with and what it was told; else 1.

    Example:
        >>> bound_of(None, {}), bound_of(3.0, {"clip_bound": 0.5}), bound_of(0.1, {})
        (1.0, 0.5, 0.1)
    """
    known = [value for value in (own, told.get(BOUND)) if value is not None]
    return min(known, default=1.0)


def shortened(row: Tensor, bound: float) -> tuple[Tensor, bool]:
    """Scale a row ``[d]`` down to a norm, computed in float64, and say whether it was within.

    A row that is not finite has no norm: it becomes zeros, and is not within.

    Example:
        >>> import torch
        >>> shortened(torch.tensor([3.0, 4.0]), 1.0)
        (tensor([0.6000, 0.8000]), False)
    """
    norm = float(row.double().norm())
    if not norm < float("inf"):
        return row.new_zeros(row.shape), False
    if norm <= bound:
        return row, True
    return (row.double() * (bound / norm)).to(row.dtype), False
