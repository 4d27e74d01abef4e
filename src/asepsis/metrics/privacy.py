"""Accountants of differential privacy: what Poisson-sampled Gaussian noise adds up to.

The curves come from Opacus (extra ``privacy``), loaded when first asked. Neighbors are made by
adding or removing one unit; each step takes every unit by itself with the sample rate, and adds
noise of ``noise_multiplier`` times what one unit may change.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from asepsis.core.errors import ConfigError, MissingExtraError, did_you_mean
from asepsis.core.privacy import Accountant

ACCOUNTANTS: tuple[Accountant, ...] = ("rdp", "prv")

FINE = tuple(1 + step / 10 for step in range(1, 100))
WHOLE = (*range(11, 64), *range(64, 256, 8), *range(256, 1025, 32))
ORDERS: tuple[float, ...] = (1.005, 1.01, 1.02, 1.05, *FINE, *map(float, WHOLE))
"""Rényi orders: fine where budgets are large, wide where they are small."""

MESH_ERROR = 0.01
"""PRV accounting adds its own error to epsilon: this, or a twentieth of RDP's epsilon."""
_MOST_POINTS = 1 << 24
_LARGEST_NOISE, _SMALLEST_NOISE = 1e6, 1e-3
_PRECISION = 1e-4
_LEAST_NOISE = 1e-9
"""Less noise than this proves nothing that a float could hold."""

Curve = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Gaussian noise on a Poisson sample, repeated: one part of a composition."""

    noise_multiplier: float
    sample_rate: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse what is no mechanism."""
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier >= 0):
            raise ConfigError(
                "noise is a finite number, at least 0",
                place="noise_multiplier",
                got=self.noise_multiplier,
            )
        if not 0 < self.sample_rate <= 1:
            raise ConfigError(
                "a sample rate is a probability above 0",
                place="sample_rate",
                got=self.sample_rate,
                fix="divide the batch size by the samples, or the cohort by the hospitals",
            )
        if not math.isfinite(self.steps) or self.steps < 0 or self.steps != int(self.steps):
            raise ConfigError("steps are a whole number", place="steps", got=self.steps)

    def of_group(self, records: int) -> Mechanism:
        """Return what bounds the same noise for a patient with so many records.

        A step takes none of k records with chance ``(1 - q)^k``, and else changes by at most k
        times what one record may change: ``q_k = 1 - (1 - q)^k`` and ``sigma_k = sigma / k``.
        The true mechanism mixes smaller changes in, so this bound is never too small.

        Example:
            >>> Mechanism(2.0, 0.5, 10).of_group(2)
            Mechanism(noise_multiplier=1.0, sample_rate=0.75, steps=10)
        """
        if not math.isfinite(records) or records < 1 or records != int(records):
            raise ConfigError(
                "a patient has a whole number of records, at least one",
                place="records",
                got=records,
            )
        rate = -math.expm1(records * math.log1p(-self.sample_rate)) if self.sample_rate < 1 else 1.0
        return replace(self, noise_multiplier=self.noise_multiplier / records, sample_rate=rate)


def epsilon(
    *,
    noise_multiplier: float,
    sample_rate: float,
    steps: int,
    delta: float,
    accountant: Accountant = "rdp",
    records: int = 1,
) -> float:
    """Return the epsilon that noise gives: the smallest that the accountant can prove.

    Args:
        noise_multiplier: standard deviation of the noise over what one unit may change.
        sample_rate: chance of every unit, by itself, to be in a step (1: no amplification).
        steps: how many steps are released.
        delta: the chance that the bound does not hold.
        accountant: ``rdp`` (Rényi, improved conversion), or the tighter ``prv`` (numerical).
        records: of how many records the unit consists (a patient's): see
            :meth:`Mechanism.of_group`.

    Returns:
        Epsilon; infinite without noise (or less than 1e-9), 0 after no step.

    Raises:
        ConfigError: an argument is out of range.
        MissingExtraError: Opacus is not installed.

    Example:
        >>> round(epsilon(noise_multiplier=4.0, sample_rate=0.01, steps=10_000, delta=1e-5), 3)
        1.035
    """
    mechanism = Mechanism(noise_multiplier, sample_rate, steps)
    return composed([mechanism.of_group(records)], delta, accountant)


def composed(
    mechanisms: Sequence[Mechanism], delta: float, accountant: Accountant = "rdp"
) -> float:
    """Return the epsilon of several mechanisms one after another, each on the same units.

    Raises:
        ConfigError: an argument is out of range.
        MissingExtraError: Opacus is not installed.

    Example:
        >>> first, second = Mechanism(4.0, 0.01, 6_000), Mechanism(4.0, 0.01, 4_000)
        >>> round(composed([first, second], delta=1e-5), 3)
        1.035
    """
    _check(delta, accountant)
    parts = _merged(mechanisms)
    if not parts:
        return 0.0
    if any(part.noise_multiplier < _LEAST_NOISE for part in parts):
        return math.inf
    return _prv(parts, delta) if accountant == "prv" else _rdp(parts, delta)


def noise_for(
    epsilon: float,
    *,
    sample_rate: float,
    steps: int,
    delta: float,
    accountant: Accountant = "rdp",
    records: int = 1,
) -> float:
    """Return the smallest noise multiplier that keeps within a budget, to a relative 0.0001.

    Raises:
        ConfigError: no noise reaches the budget, or an argument is out of range.
        MissingExtraError: Opacus is not installed.

    Example:
        >>> round(noise_for(1.0355, sample_rate=0.01, steps=10_000, delta=1e-5), 2)
        4.0
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ConfigError("a budget is a finite number above 0", place="epsilon", got=epsilon)

    def spent(noise: float) -> float:
        mechanism = Mechanism(noise, sample_rate, steps).of_group(records)
        return composed([mechanism], delta, accountant)

    low, high = _bracket(spent, epsilon)
    if low == 0:
        return high
    found = brentq(lambda noise: spent(noise) - epsilon, low, high, xtol=1e-9, rtol=_PRECISION / 4)
    return min(high, float(found) * (1 + _PRECISION / 2))


def _bracket(spent: Callable[[float], float], budget: float) -> tuple[float, float]:
    """Return noise that breaks the budget and noise that keeps it, a factor of 2 apart."""
    high = 1.0
    while high <= _LARGEST_NOISE and spent(high) > budget:
        high *= 2
    if high > _LARGEST_NOISE:
        raise ConfigError(
            "no noise keeps so many steps within this budget",
            place="epsilon",
            got=budget,
            fix="allow a larger epsilon or delta, fewer steps, or a smaller sample rate",
        )
    while high > _SMALLEST_NOISE and spent(high / 2) <= budget:
        high /= 2
    return (high / 2 if high > _SMALLEST_NOISE else 0.0), high


def classic(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """Return what the older conversion from Rényi privacy gives: larger, for comparison only.

    ``min_a RDP(a) + log(1 / delta) / (a - 1)`` (Mironov 2017, Proposition 3), beside the improved
    one of :func:`epsilon` (Balle et al. 2020, Theorem 21).

    Example:
        >>> round(classic([Mechanism(4.0, 0.01, 10_000)], delta=1e-5), 2)
        1.26
    """
    _check(delta, "rdp")
    parts, orders = _merged(mechanisms), np.array(ORDERS)
    if not parts:
        return 0.0
    found = _curve(parts, ORDERS) - math.log(delta) / (orders - 1)
    return float(found.min())


def rdp_epsilon(mechanisms: Sequence[Mechanism], delta: float, orders: Sequence[float]) -> float:
    """Return the Rényi accountant's epsilon over the given orders.

    ``min_a RDP(a) + log((a - 1) / a) - (log delta + log a) / (a - 1)``, at least 0.
    """
    at = np.array(orders, dtype=np.float64)
    curve = _curve(_merged(mechanisms), tuple(map(float, orders)))
    found = curve + np.log1p(-1 / at) - (math.log(delta) + np.log(at)) / (at - 1)
    return max(0.0, float(found.min()))


def _rdp(parts: Sequence[Mechanism], delta: float) -> float:
    return rdp_epsilon(parts, delta, ORDERS)


def _curve(parts: Sequence[Mechanism], orders: tuple[float, ...]) -> Curve:
    total = np.zeros(len(orders))
    for part in parts:
        total += part.steps * _one_step(part.noise_multiplier, part.sample_rate, orders)
    return total


@lru_cache(maxsize=256)
def _one_step(noise: float, rate: float, orders: tuple[float, ...]) -> Curve:
    if noise < _LEAST_NOISE:
        return np.full(len(orders), math.inf)
    at = _opacus().accountants.analysis.rdp.compute_rdp
    with np.errstate(all="ignore"):
        found = [_or_infinite(at, rate, noise, order) for order in orders]
    curve: Curve = np.nan_to_num(np.array(found), nan=math.inf, posinf=math.inf)
    return curve


def _or_infinite(at: Callable[..., Any], rate: float, noise: float, order: float) -> float:
    """Return the divergence at one order; where the series fails, the order proves nothing."""
    try:
        return float(at(q=rate, noise_multiplier=noise, steps=1, orders=order))
    except (ValueError, ArithmeticError):
        return math.inf


def _prv(parts: Sequence[Mechanism], delta: float) -> float:
    """Return the upper bound of Gopi et al. 2021 from Opacus, on a mesh fit for the size."""
    rough = _rdp(parts, delta)
    error = min(MESH_ERROR, max(rough, 1e-6) / 20)
    steps = sum(part.steps for part in parts)
    mesh = error / math.sqrt(steps * math.log(12e3 / delta) / 2)
    if not 2 * (_rdp(parts, delta / 4000) + 3) / mesh < _MOST_POINTS:
        raise ConfigError(
            "the numerical accountant would need too fine a mesh for this",
            place="accountant",
            got="prv",
            fix='use accountant "rdp"',
        )
    made = _opacus().accountants.PRVAccountant()
    made.history = [(part.noise_multiplier, part.sample_rate, part.steps) for part in parts]
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = float(made.get_epsilon(delta, eps_error=error))
    except (RuntimeError, ValueError, FloatingPointError):
        found = math.nan
    if not math.isfinite(found):
        raise ConfigError(
            "the numerical accountant cannot compute this",
            place="accountant",
            got="prv",
            fix='use accountant "rdp"',
        )
    return max(0.0, found)


def _merged(mechanisms: Sequence[Mechanism]) -> list[Mechanism]:
    """Add up the steps of equal mechanisms, and leave out those that never ran."""
    steps: dict[tuple[float, float], int] = {}
    for one in mechanisms:
        key = (one.noise_multiplier, one.sample_rate)
        steps[key] = steps.get(key, 0) + one.steps
    return [Mechanism(*key, count) for key, count in steps.items() if count]


def _check(delta: float, accountant: str) -> None:
    if not 0 < delta < 1:
        raise ConfigError(
            "delta is a probability between 0 and 1",
            place="delta",
            got=delta,
            fix="use less than 1 over the number of units, such as 1e-5",
        )
    if accountant not in ACCOUNTANTS:
        raise ConfigError(
            "unknown accountant",
            place="accountant",
            got=accountant,
            fix=did_you_mean(accountant, ACCOUNTANTS),
        )


def _opacus() -> Any:
    try:
        import opacus.accountants.analysis.rdp
    except ImportError:
        raise MissingExtraError("opacus", "privacy") from None
    return opacus
