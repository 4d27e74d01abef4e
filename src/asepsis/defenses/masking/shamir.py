"""Shamir's secret sharing over the integers modulo the first prime above 2^256.

A secret is the constant of a polynomial of degree ``threshold - 1``, a share its value at a point.
Any ``threshold`` shares give the secret; fewer say nothing about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

PRIME = 2**256 + 297
SHARE = 33
"""Bytes of a share."""
COEFFICIENT = 48
"""Random bytes a coefficient is reduced from: 2^-127 from uniform."""


def split(
    secret: int, threshold: int, points: Sequence[int], randomness: bytes, prime: int = PRIME
) -> list[int]:
    """Return the shares at ``points``, all different and none 0 modulo ``prime``.

    ``randomness`` are ``threshold - 1`` times :data:`COEFFICIENT` bytes.

    Example:
        >>> shares = split(42, 2, [1, 2, 3], bytes(47) + b"\\x05", prime=101)
        >>> shares
        [47, 52, 57]
        >>> combine({1: 47, 3: 57}, prime=101)
        42
    """
    rest = [
        int.from_bytes(randomness[at : at + COEFFICIENT], "big") % prime
        for at in range(0, (threshold - 1) * COEFFICIENT, COEFFICIENT)
    ]
    return [_value(secret, rest, point, prime) for point in points]


def combine(shares: Mapping[int, int], prime: int = PRIME) -> int:
    """Return the polynomial's value at 0 from shares by their points."""
    weights = _at_zero(tuple(shares), prime)
    terms = zip(weights, shares.values(), strict=True)
    return sum(weight * share for weight, share in terms) % prime


def _value(secret: int, rest: Sequence[int], point: int, prime: int) -> int:
    value = 0
    for coefficient in reversed(rest):
        value = (value + coefficient) * point % prime
    return (value + secret) % prime


@lru_cache(maxsize=1024)
def _at_zero(points: tuple[int, ...], prime: int) -> tuple[int, ...]:
    """Return Lagrange's coefficients at 0: the same hospitals answer for many secrets."""
    weights = []
    for point in points:
        above, below = 1, 1
        for other in points:
            if other != point:
                above = above * other % prime
                below = below * (other - point) % prime
        weights.append(above * pow(below, -1, prime) % prime)
    return tuple(weights)
