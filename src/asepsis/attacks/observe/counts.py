"""How many samples a curious server takes hospitals to have."""

from __future__ import annotations

from math import isfinite

from asepsis.core.updates import Delivery, Grouped, Individual

MOST = 1_000_000
"""Claimed sample counts are cut to this: an update that says more says nothing."""


def samples_behind(delivery: Delivery, batch: int) -> tuple[int, ...]:
    """Return how many samples the hospital behind every row has; of several, their mean.

    Where every one of several hospitals counts as 1, counts say nothing (an unweighted sum):
    ``batch`` each. The same of one whose own count is no number, or below 1.

    Example:
        >>> import torch
        >>> from asepsis.core.updates import Summed
        >>> samples_behind(Summed(4, torch.zeros(1), 40.0), batch=8)
        (10,)
        >>> samples_behind(Summed(4, torch.zeros(1), 4.0), batch=8)
        (8,)
    """
    sizes: list[int] = []
    if isinstance(delivery, Individual):
        groups = delivery.members if isinstance(delivery, Grouped) else {}
        sizes = [len(groups.get(client, (client,))) for client in delivery.clients]
        claimed = [float(w) / n for w, n in zip(delivery.weights, sizes, strict=True)]
    else:
        claimed = [delivery.weight / max(delivery.count, 1)]
    counted = sizes == [1] or any(one != 1 for one in claimed)
    return tuple(
        round(min(one, MOST)) if counted and isfinite(one) and one >= 1 else batch
        for one in claimed
    )
