"""Asking the defense in use how far one may go along a direction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from asepsis.attacks.update.perturbation import idle, repeated
from asepsis.core import robust_math
from asepsis.core.errors import ConfigError
from asepsis.core.threat import ClientView, Omniscient
from asepsis.core.updates import Rows

GOLDEN = (math.sqrt(5) - 1) / 2
EXPONENTS = (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, 6, 7, 8)
"""The grid, in powers of two of the reach of honest rows, nearest first."""


def largest(
    score: Callable[[float], float], start: float, calls: int, most: float = math.inf
) -> tuple[float, float, int]:
    """Return the best gamma found, its score, and how often ``score`` was called.

    First a grid ``start 2^k``, then a golden section in log gamma around its best point, at most
    ``calls`` calls in all, and no gamma above ``most``. A score that is not finite is worse than
    any other. A defense's answer is no smooth function: the result is the best that was seen, not
    a proven optimum.

    Example:
        >>> gamma, value, calls = largest(lambda gamma: -(gamma - 3) ** 2, 1.0, 40)
        >>> round(gamma, 3), calls
        (3.0, 40)
    """
    seen: dict[float, float] = {}
    ceiling = math.log2(most / start) if start > 0 else math.inf

    def ask(exponent: float) -> float:
        exponent = min(exponent, ceiling)
        if exponent not in seen and len(seen) < calls:
            value = score(min(start * 2**exponent, most))
            seen[exponent] = value if math.isfinite(value) else -math.inf
        return seen.get(exponent, -math.inf)

    for exponent in EXPONENTS:
        ask(float(exponent))
    top = max(seen, key=ask)
    low, high = top - 1, top + 1
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    while len(seen) < calls and high - low > 1e-9:
        if ask(left) >= ask(right):
            high, right = right, left
            left = high - GOLDEN * (high - low)
        else:
            low, left = left, right
            right = low + GOLDEN * (high - low)
    top = max(seen, key=ask)
    return min(start * 2**top, most), seen[top], len(seen)


def farthest(
    view: ClientView, mean: Tensor, p: Tensor, calls: int, most: float = math.inf
) -> tuple[Tensor, Mapping[str, float]]:
    """Return rows ``mean + gamma p`` ``[m, d]`` that move the aggregate farthest along ``p``.

    ``gamma`` is at most ``most``; where nothing moves along p the rows are ``mean``. Measured are
    ``gamma``, ``moved``, ``calls``, and ``inactive`` where gamma is 0.

    Raises:
        ConfigError: nobody says which defense is in use.
    """
    rule = view.facts.rule
    if rule is None:
        raise ConfigError(
            "nobody tells this attack which defense is in use",
            place="attack",
            fix="set knows_defense = true in [threat], or pass rule= to asepsis.craft",
        )
    length = float(p.norm())
    if not length > 0:
        measured = {"gamma": 0.0, "moved": 0.0, "calls": 0.0}
        return repeated(mean, view.rows), {**measured, **idle(True)}
    cohort = torch.cat([view.rows, view.reference[_places(view)]])

    def moved(gamma: float) -> float:
        cohort[: len(view.clients)] = torch.add(mean, p, alpha=gamma).to(cohort)
        made = rule(cohort).to(mean)
        return float((made - mean) @ p) / length

    reach = float(robust_math.row_norms(Rows(view.reference), mean).max()) or float(mean.norm())
    gamma, best, asked = largest(moved, reach / length, calls, most)
    gamma, best = (gamma, best) if best > 0 else (0.0, 0.0)
    rows = repeated(torch.add(mean, p, alpha=gamma), view.rows)
    measured = {"gamma": gamma, "moved": best, "calls": float(asked)}
    return rows, {**measured, **idle(gamma == 0)}


def _places(view: ClientView) -> Tensor:
    """Return which of the rows in view stands for each honest hospital of the cohort."""
    known = len(view.reference)
    if isinstance(view, Omniscient):
        return torch.arange(known)
    return torch.arange(max(view.facts.cohort - len(view.clients), 1)) % known
