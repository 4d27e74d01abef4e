"""What a server knows of a round as equations: sums of weighted updates, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from asepsis.core.threat import ServerView
from asepsis.core.updates import Delivery, Grouped, State, Summed

EXACT = 1e-6
"""How far from a single hospital a combination of sums may be."""


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """``total = sum_i w_i x_i`` ``[d]`` and ``weight = sum_i w_i`` over the ``members``."""

    members: tuple[int, ...]
    total: Tensor
    weight: float


def sums_of(view: ServerView) -> list[Sum]:
    """Return the finite sums that a delivery consists of; none where nobody knows whose they are.

    A secure sum is one, a plain row is one of a single hospital, each group has its own.
    """
    return [one for one in _all(view) if _usable(one)]


def _all(view: ServerView) -> Iterator[Sum]:
    delivery: Delivery = view.delivery
    if isinstance(delivery, Summed):
        if delivery.count == len(view.cohort):
            yield Sum(view.cohort, delivery.total.double().cpu(), delivery.weight)
        return
    groups = delivery.members if isinstance(delivery, Grouped) else {}
    for i, client in enumerate(delivery.clients):
        weight = float(delivery.weights[i])
        total = delivery.rows.row(i).double().cpu() * weight
        yield Sum(groups.get(client, (client,)), total, weight)


def _usable(one: Sum) -> bool:
    return 0 < one.weight < torch.inf and bool(one.total.isfinite().all())


def remembered(state: State, round_: int, sums: list[Sum], window: int, totals: bool) -> State:
    """Return the state with a round's sums added, and rounds before the window forgotten.

    The state has one entry for each sum: ``round``, ``weight``, ``members`` ``[k, ids]`` (1 for
    who is in it), and ``total`` ``[k, d]`` where totals are kept.
    """
    if not sums:
        return state
    width = 1 + max(max(one.members) for one in sums)
    before = state.get("members", torch.zeros(0, 0, dtype=torch.float64))
    width = max(width, before.shape[1])
    members = torch.zeros(len(sums), width, dtype=torch.float64)
    for i, one in enumerate(sums):
        members[i, list(one.members)] = 1.0
    added = {
        "round": torch.full((len(sums),), round_, dtype=torch.int64),
        "weight": torch.tensor([one.weight for one in sums], dtype=torch.float64),
        "members": members,
    }
    if totals:
        added["total"] = torch.stack([one.total for one in sums])
    old = {name: state[name] for name in added if name in state}
    if old:
        wider = torch.zeros(len(before), width - before.shape[1], dtype=torch.float64)
        old["members"] = torch.cat([before, wider], dim=1)
        added = {name: torch.cat([old[name], values]) for name, values in added.items()}
    kept = added["round"] > round_ - window
    return {**state, **{name: values[kept] for name, values in added.items()}}


def combination(members: Tensor, client: int) -> Tensor | None:
    """Return the smallest factors ``[k]`` that make sums into one hospital's; ``None`` without any.

    Example:
        >>> sums = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
        >>> combination(sums, 1).round(decimals=6).tolist(), combination(sums, 0)
        ([1.0, -1.0], None)
    """
    if client >= members.shape[1]:
        return None
    wanted = torch.zeros(members.shape[1], dtype=torch.float64)
    wanted[client] = 1.0
    wide = members.double()
    factors = torch.linalg.pinv(wide.T) @ wanted
    return factors if float((wide.T @ factors - wanted).abs().max()) < EXACT else None


def weight_of(state: State, client: int) -> float | None:
    """Return a hospital's weight in sums, where those remembered tell it."""
    if "members" not in state:
        return None
    factors = combination(state["members"], client)
    if factors is None:
        return None
    found = float(factors @ state["weight"])
    return found if found > 0 else None
