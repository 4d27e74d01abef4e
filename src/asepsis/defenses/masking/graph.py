"""Who masks with whom: everybody, or the neighbors on a circle in a random order.

A hospital's neighborhood is itself and its ``degree`` neighbors; they hold shares of its secrets,
and ``threshold`` of them can open one. In the ``k-regular`` graph the cohort stands on a circle, in
an order that a hash of all advertised keys gives, and each masks with the ``degree / 2`` next ones
on both sides (Bell et al., 2020).

Why that is enough. All honest hospitals accept one and the same set of survivors, because more
than ``(n + colluders) / 2`` must have signed it. Suppose the masks did not connect the honest
survivors: then one of them, v, has no honest survivor among the ``degree / 2`` next on one side, so
that at most ``degree / 2 + 1`` of its neighborhood are honest survivors. To open v's own mask,
``threshold`` must answer: at least ``threshold - degree / 2 - 1`` are colluders. The same number
also covers opening both of v's secrets. It is bounded by the hypergeometric tail, for colluders
that were chosen before the order was drawn, times the cohort: :func:`smallest_degree` asks for
2^-40. Without colluders the probability is 0, whoever the server lets drop out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, floor

from scipy.stats import hypergeom

PRIVACY = 2.0**-40
"""The largest probability that colluders surround an honest hospital."""
COMPLETION = 2.0**-20
"""The largest probability that the stated dropouts leave a neighborhood too small."""
LARGE = 50
"""Hospitals in a cohort from which on a k-regular graph is considered."""


@dataclass(frozen=True, slots=True)
class Graph:
    """How many neighbors each has, how many open a secret, how many must be left in a sum."""

    degree: int
    threshold: int
    quorum: int


def more_than(share: float, n: int) -> int:
    """Return the least whole number above ``share * n``, at most ``n``.

    Example:
        >>> more_than(2 / 3, 9), more_than(2 / 3, 10), more_than(1.0, 4)
        (7, 7, 4)
    """
    return min(n, floor(share * n + 1e-9) + 1)


def smallest_degree(n: int, share: float, colluders: int, dropouts: float) -> int | None:
    """Return the smallest even degree within both bounds; ``None`` when only ``n - 1`` is.

    ``share`` is the threshold's share of a neighborhood, ``dropouts`` the share of hospitals that
    may fail for reasons of their own.

    Example:
        >>> smallest_degree(100, 2 / 3, 0, 0.1), smallest_degree(5, 2 / 3, 0, 0.1)
        (30, None)
    """
    gone = ceil(dropouts * n - 1e-9)
    for degree in range(2, n - 1, 2):
        threshold = more_than(share, degree + 1)
        if _surrounded(n, degree, threshold, colluders) > PRIVACY:
            continue
        if _stuck(n, degree, threshold, gone) <= COMPLETION:
            return degree
    return None


def _surrounded(n: int, degree: int, threshold: int, colluders: int) -> float:
    needed = threshold - degree // 2 - 1
    return 1.0 if needed < 1 else n * float(hypergeom.sf(needed - 1, n - 1, colluders, degree))


def _stuck(n: int, degree: int, threshold: int, gone: int) -> float:
    """Bound the probability that a secret is left with fewer than ``threshold`` answers."""
    spare = degree + 1 - threshold
    left = (n - gone) * float(hypergeom.sf(spare, n - 1, gone, degree))
    if gone == 0:
        return left
    return left + gone * float(hypergeom.sf(spare - 1, n - 1, gone - 1, degree))


def neighbors(members: Sequence[int], me: int, degree: int, seed: bytes) -> tuple[int, ...]:
    """Return a member's neighbors in ascending order; all others when ``degree`` covers them.

    Example:
        >>> neighbors(range(6), 0, 5, b""), len(neighbors(range(6), 0, 2, b""))
        ((1, 2, 3, 4, 5), 2)
    """
    if degree >= len(members) - 1:
        return tuple(sorted(member for member in members if member != me))
    circle = order(members, seed)
    place = circle.index(me)
    offsets = [*range(-(degree // 2), 0), *range(1, degree // 2 + 1)]
    return tuple(sorted(circle[(place + offset) % len(circle)] for offset in offsets))


def order(members: Sequence[int], seed: bytes) -> list[int]:
    """Return the members in the order that a seed gives."""
    return sorted(members, key=lambda member: sha256(seed + member.to_bytes(8, "little")).digest())
