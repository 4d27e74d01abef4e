"""Accountants: against published values, numerical integration, and what must always hold."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.core.privacy import Accountant
from asepsis.metrics import privacy
from asepsis.metrics.privacy import (
    ORDERS,
    Mechanism,
    classic,
    composed,
    epsilon,
    noise_for,
    rdp_epsilon,
)

DELTA = 1e-5
GRID = np.linspace(-60, 60, 400_001)


def spent(noise: float, rate: float, steps: int, accountant: Accountant = "rdp") -> float:
    return epsilon(
        noise_multiplier=noise, sample_rate=rate, steps=steps, delta=DELTA, accountant=accountant
    )


def exact(mixture: Callable[[Any], Any], sigma: float) -> float:
    """Solve ``delta(epsilon) = DELTA`` for one step, by integration in both directions."""
    with_unit, without = mixture(GRID), norm.pdf(GRID, 0, sigma)

    def delta(budget: float) -> float:
        there = np.maximum(with_unit - math.exp(budget) * without, 0)
        back = np.maximum(without - math.exp(budget) * with_unit, 0)
        return float(max(np.trapezoid(there, GRID), np.trapezoid(back, GRID)))

    low, high = 0.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if delta(middle) <= DELTA else (middle, high)
    return high


@pytest.mark.parametrize(
    "given",
    [
        {"steps": math.nan},
        {"steps": math.inf},
        {"steps": 2.5},
        {"records": 1.5},
        {"records": math.nan},
        {"records": math.inf},
    ],
)
def test_what_is_no_whole_number_is_refused(given: dict[str, Any]) -> None:
    how: dict[str, Any] = {"noise_multiplier": 1.0, "sample_rate": 0.1, "steps": 3, "delta": DELTA}
    with pytest.raises(ConfigError, match=next(iter(given))):
        epsilon(**{**how, **given})


@pytest.mark.parametrize(
    ("noise", "steps", "published", "older"),
    [(4.0, 10_000, 1.035, 1.26), (4.0, 40_000, 2.213, 2.58)],
)
def test_published_budgets_are_met(
    noise: float, steps: int, published: float, older: float
) -> None:
    mechanism = [Mechanism(noise, 0.01, steps)]
    whole = rdp_epsilon(mechanism, DELTA, range(2, 64))
    assert whole == pytest.approx(published, abs=6e-4)
    # Finer orders prove a little more, never less.
    assert published * 0.997 < spent(noise, 0.01, steps) <= whole + 1e-12
    assert classic(mechanism, DELTA) == pytest.approx(older, abs=8e-3)


def test_both_accountants_meet_their_references() -> None:
    assert spent(1.1, 0.01, 1000) == pytest.approx(1.712, abs=6e-4)
    assert spent(1.1, 0.01, 1000, "prv") == pytest.approx(1.526, abs=1e-3)


@pytest.mark.parametrize(("noise", "rate"), [(1.0, 0.1), (0.8, 0.5), (2.0, 0.9), (3.0, 1.0)])
def test_neither_accountant_promises_more_than_the_truth(noise: float, rate: float) -> None:
    def mixture(x: Any) -> Any:
        return (1 - rate) * norm.pdf(x, 0, noise) + rate * norm.pdf(x, 1, noise)

    truth = exact(mixture, noise)
    assert truth <= spent(noise, rate, 1, "prv") + 1e-6
    assert spent(noise, rate, 1, "prv") <= truth + 2.1 * privacy.MESH_ERROR
    assert truth <= spent(noise, rate, 1) + 1e-6
    assert spent(noise, rate, 1) <= 1.3 * truth


@pytest.mark.parametrize(
    ("records", "noise", "rate"), [(2, 2.0, 0.2), (3, 3.0, 0.5), (4, 4.0, 1.0)]
)
def test_a_patient_is_covered_however_many_of_its_records_are_drawn(
    records: int, noise: float, rate: float
) -> None:
    def mixture(x: Any) -> Any:
        parts = [binom.pmf(j, records, rate) * norm.pdf(x, j, noise) for j in range(records + 1)]
        return np.sum(parts, axis=0)

    truth = exact(mixture, noise)
    bound = epsilon(
        noise_multiplier=noise,
        sample_rate=rate,
        steps=1,
        delta=DELTA,
        accountant="prv",
        records=records,
    )
    assert truth <= bound + 1e-6
    if rate == 1.0:
        assert bound <= truth + 2.1 * privacy.MESH_ERROR


def test_all_in_every_step_is_the_gaussian_mechanism() -> None:
    """``RDP(a) = a steps / (2 sigma^2)``, converted by hand over a fine range of orders."""
    sigma, steps, orders = 7.0, 12, np.linspace(1.01, 400, 200_000)
    curve = orders * steps / (2 * sigma**2)
    best = curve + np.log1p(-1 / orders) - (np.log(DELTA) + np.log(orders)) / (orders - 1)
    assert spent(sigma, 1.0, steps) == pytest.approx(float(best.min()), rel=2e-3)
    assert spent(sigma, 1.0, steps) >= float(best.min()) - 1e-9


def test_improved_conversion_is_that_of_opacus() -> None:
    from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

    curve = compute_rdp(q=0.02, noise_multiplier=1.5, steps=700, orders=list(ORDERS))
    theirs, _ = get_privacy_spent(orders=list(ORDERS), rdp=curve, delta=DELTA)
    assert spent(1.5, 0.02, 700) == pytest.approx(theirs, rel=1e-9)


@settings(max_examples=15)
@given(
    noise=st.floats(0.6, 20),
    rate=st.floats(0.001, 0.2),
    steps=st.integers(1, 5000),
    more=st.floats(1.01, 3),
)
def test_budgets_move_the_right_way(noise: float, rate: float, steps: int, more: float) -> None:
    base = spent(noise, rate, steps)
    assert spent(noise * more, rate, steps) <= base + 1e-9
    assert spent(noise, min(1.0, rate * more), steps) >= base - 1e-9
    assert spent(noise, rate, math.ceil(steps * more)) >= base - 1e-9


@settings(max_examples=8)
@given(noise=st.floats(0.8, 8), rate=st.floats(0.002, 0.1), steps=st.integers(20, 2000))
def test_the_numerical_accountant_never_proves_less(noise: float, rate: float, steps: int) -> None:
    assert spent(noise, rate, steps, "prv") <= spent(noise, rate, steps)


def test_rounds_with_other_parameters_add_up() -> None:
    halves = [Mechanism(4.0, 0.01, 5_000), Mechanism(4.0, 0.01, 5_000)]
    assert composed(halves, DELTA) == spent(4.0, 0.01, 10_000)
    mixed = [Mechanism(2.0, 0.05, 100), Mechanism(1.0, 0.01, 300)]
    parts = [composed([one], DELTA) for one in mixed]
    assert max(parts) < composed(mixed, DELTA) < sum(parts)
    assert composed(mixed, DELTA, "prv") < composed(mixed, DELTA)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
@pytest.mark.parametrize("budget", [0.3, 3.0])
def test_planned_noise_keeps_the_budget_and_wastes_little(
    budget: float, accountant: Accountant
) -> None:
    noise = noise_for(budget, sample_rate=0.02, steps=500, delta=DELTA, accountant=accountant)
    kept = spent(noise, 0.02, 500, accountant)
    assert kept <= budget
    assert spent(noise * 0.99, 0.02, 500, accountant) > budget


def test_no_noise_and_no_step() -> None:
    assert spent(0.0, 0.01, 5) == math.inf
    assert spent(1.0, 0.01, 0) == 0.0
    assert composed([], DELTA) == 0.0


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"sample_rate": 0.0}, "sample_rate"),
        ({"sample_rate": 1.5}, "sample_rate"),
        ({"noise_multiplier": -1.0}, "noise_multiplier"),
        ({"noise_multiplier": math.nan}, "noise_multiplier"),
        ({"steps": -1}, "steps"),
        ({"delta": 0.0}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"records": 0}, "records"),
        ({"accountant": "gdp"}, "accountant"),
    ],
)
def test_what_is_out_of_range_is_refused(change: dict[str, Any], place: str) -> None:
    good: dict[str, Any] = {
        "noise_multiplier": 1.0,
        "sample_rate": 0.1,
        "steps": 3,
        "delta": DELTA,
    }
    with pytest.raises(ConfigError) as caught:
        epsilon(**{**good, **change})
    assert caught.value.place == place


def test_an_impossible_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match="no noise"):
        noise_for(1e-9, sample_rate=1.0, steps=1_000_000, delta=1e-12)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus", None)
    monkeypatch.setitem(sys.modules, "opacus.accountants.analysis.rdp", None)
    privacy._one_step.cache_clear()
    with pytest.raises(MissingExtraError, match="asepsis\\[privacy\\]"):
        spent(1.0, 0.1, 3)
