"""The adaptive attack: its search, what it asks, and that knowing the rule pays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import asepsis
from asepsis.attacks.update.asking import largest
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.threat import ClientView, Colluders, Facts, Omniscient

Rule = Callable[[Tensor], Tensor]


def ruled(name: str, **options: Any) -> Rule:
    return lambda rows: asepsis.aggregate(rows, name, **options)


def view(rule: Rule | None, h: int = 12, m: int = 4, d: int = 20, **how: bool) -> ClientView:
    rng = np.random.default_rng([h, m, d])
    axis = rng.normal(size=d)
    rows = torch.from_numpy(axis + 0.8 * rng.normal(size=(h + m, d)))
    facts = Facts(0, h + m, 1.0, rule=rule)
    if how.get("colluders"):
        return Colluders(facts, tuple(range(m)), rows[:m])
    return Omniscient(facts, tuple(range(m)), rows[:m], rows[m:])


def craft(view: ClientView, **options: Any) -> tuple[Tensor, dict[str, float]]:
    attack = build("attack", {"name": "adaptive", **options})
    _, rows, measured = attack.craft({}, view, np.random.default_rng(0))
    return rows, measured


def test_the_search_finds_the_maximum_of_a_smooth_curve() -> None:
    gamma, value, calls = largest(lambda gamma: -((math.log(gamma) - 1) ** 2), 0.7, 60)
    assert gamma == pytest.approx(math.e, rel=1e-4)
    assert value == pytest.approx(0.0, abs=1e-8)
    assert calls <= 60


def test_the_search_finds_the_edge_before_a_cliff() -> None:
    """What a filter looks like: the farther the better, and nothing beyond the threshold."""
    gamma, value, _ = largest(lambda gamma: gamma if gamma <= 5.3 else 0.0, 1.0, 60)
    assert gamma == value
    assert 5.3 * 0.999 < gamma <= 5.3


@pytest.mark.parametrize("calls", [1, 2, 13, 14, 15, 37])
def test_the_search_calls_no_more_often_than_it_may(calls: int) -> None:
    asked: list[float] = []

    def score(gamma: float) -> float:
        asked.append(gamma)
        return -abs(gamma - 3.3)

    gamma, value, told = largest(score, 1.0, calls)
    assert len(asked) == told == calls
    assert value == max(-abs(g - 3.3) for g in asked) == -abs(gamma - 3.3)


def test_the_search_takes_what_is_not_finite_for_the_worst() -> None:
    assert largest(lambda gamma: math.nan if gamma > 1 else -1 / gamma, 1.0, 20)[0] == 1.0
    _, value, _ = largest(lambda _: math.inf, 1.0, 5)
    assert value == -math.inf


def test_against_a_plain_mean_the_farthest_row_of_the_grid_is_best() -> None:
    """The mean moves by gamma m / n: 2^8 times the reach, and then up to 2^9 in the section."""
    seen = view(ruled("mean"))
    rows, measured = craft(seen, calls=13)
    honest = seen.reference
    mean = honest.mean(dim=0)
    reach = float((honest - mean).norm(dim=1).max())
    assert measured["gamma"] == pytest.approx(2**8 * reach)
    assert measured["moved"] == pytest.approx(2**8 * reach * 4 / 16)
    wanted = mean - measured["gamma"] * mean / mean.norm()
    assert torch.allclose(rows, wanted.expand(4, -1))


RULES = [
    ("krum", {"f": 4}),
    ("multi-krum", {"f": 4}),
    ("trimmed-mean", {"f": 4}),
    ("median", {}),
    ("geometric-median", {}),
]


@pytest.mark.parametrize(("name", "options"), RULES)
@pytest.mark.parametrize("perturbation", ["unit", "std", "sign"])
def test_what_it_reports_is_what_the_rule_does(
    name: str, options: dict[str, Any], perturbation: str
) -> None:
    seen = view(ruled(name, **options))
    rows, measured = craft(seen, perturbation=perturbation)
    made = asepsis.aggregate(torch.cat([rows, seen.reference]), name, **options)
    mean = seen.reference.mean(dim=0)
    p = {
        "unit": -mean,
        "std": -seen.reference.std(dim=0),
        "sign": -torch.sign(mean),
    }[perturbation]
    assert float((made - mean) @ p / p.norm()) == pytest.approx(measured["moved"], rel=1e-6)
    assert measured["moved"] > 0
    assert measured["calls"] == 30


@pytest.mark.parametrize(("name", "options"), RULES)
def test_who_knows_the_rule_does_at_least_as_much_harm_as_who_does_not(
    name: str, options: dict[str, Any]
) -> None:
    seen = view(ruled(name, **options))
    mean = seen.reference.mean(dim=0)

    def harm(attack: str) -> float:
        rows = build("attack", attack).craft({}, seen, np.random.default_rng(0))[1]
        made = asepsis.aggregate(torch.cat([rows, seen.reference]), name, **options)
        return float((mean - made) @ mean / mean.norm())

    assert all(harm("adaptive") >= 0.99 * harm(other) for other in ("min-max", "min-sum", "ipm"))


def test_a_finer_scan_finds_hardly_anything_better_against_multi_krum() -> None:
    """Brute force over 600 scales. The answer has several peaks: nearly the best will do."""
    seen = view(ruled("multi-krum", f=4))
    _, measured = craft(seen, calls=60)
    mean = seen.reference.mean(dim=0)
    best = 0.0
    for gamma in np.geomspace(0.05, 500, 600):
        tried = (mean - gamma * mean / mean.norm()).expand(4, -1)
        made = asepsis.aggregate(torch.cat([tried, seen.reference]), "multi-krum", f=4)
        best = max(best, float((mean - made) @ mean / mean.norm()))
    assert measured["moved"] >= 0.95 * best


def test_the_rule_is_asked_about_hostile_rows_first_then_honest_ones() -> None:
    asked: list[Tensor] = []

    def rule(rows: Tensor) -> Tensor:
        asked.append(rows.clone())
        return rows.mean(dim=0)

    seen = view(rule)
    craft(seen, calls=3)
    assert len(asked) == 3
    assert all(torch.equal(rows[4:], seen.reference) for rows in asked)
    assert all((rows[:4] == rows[0]).all() for rows in asked)


def test_colluders_let_their_own_rows_stand_in_for_the_rest_of_the_cohort() -> None:
    asked: list[Tensor] = []

    def rule(rows: Tensor) -> Tensor:
        asked.append(rows.clone())
        return rows.mean(dim=0)

    seen = view(rule, h=6, m=4, colluders=True)
    craft(seen, calls=1)
    assert torch.equal(asked[0][4:], seen.rows[[0, 1, 2, 3, 0, 1]])


def test_a_rule_that_voids_every_round_is_left_alone() -> None:
    rows, measured = craft(view(lambda rows: torch.full_like(rows[0], math.nan)))
    honest = view(None).reference.mean(dim=0)
    assert torch.allclose(rows, honest.expand(4, -1))
    assert measured == {"gamma": 0.0, "moved": 0.0, "calls": 30.0, "inactive": 1.0}


def test_where_all_honest_rows_agree_the_length_of_their_mean_is_the_reach() -> None:
    """Rows (3, 4), three honest and one hostile: the mean moves by gamma / 4."""
    alike = torch.tensor([[3.0, 4.0]]).repeat(3, 1)
    facts = Facts(0, 4, 1.0, rule=lambda rows: rows.mean(dim=0))
    rows, measured = craft(Omniscient(facts, (0,), alike[:1], alike), calls=1)
    assert measured == {"gamma": pytest.approx(5.0), "moved": pytest.approx(1.25), "calls": 1.0}
    assert rows.tolist() == [pytest.approx([0.0, 0.0], abs=1e-6)]


def test_without_a_direction_the_rule_is_not_asked() -> None:
    def rule(rows: Tensor) -> Tensor:
        raise AssertionError("there is nothing to ask")

    seen = Omniscient(Facts(0, 3, 1.0, rule=rule), (0,), torch.zeros(1, 2), torch.zeros(2, 2))
    assert craft(seen)[0].tolist() == [[0.0, 0.0]]


def test_without_a_rule_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"knows_defense = true in \[threat\]"):
        craft(view(None))


def poisoned(rule: Rule, gap: float = 3.0, h: int = 8, m: int = 2, d: int = 10) -> Omniscient:
    """Hostile rows that lie ``gap`` away from the honest mean, in one direction."""
    rng = np.random.default_rng(5)
    honest = torch.from_numpy(rng.normal(size=(h, d)))
    rows = honest.mean(0).expand(m, -1).clone()
    rows[:, 0] += gap
    return Omniscient(Facts(0, h + m, 1.0, rule=rule), tuple(range(m)), rows, honest)


@pytest.mark.parametrize("name", ["adaptive-poisoning", "adaptive-backdoor"])
def test_a_mean_is_replaced_by_the_poisoned_row_and_no_further(name: str) -> None:
    seen = poisoned(ruled("mean"))
    _, rows, measured = build("attack", name).craft({}, seen, np.random.default_rng(0))
    assert measured["gamma"] == pytest.approx(10 / 2)  # n / (lr m)
    aggregate = torch.cat([rows, seen.honest]).mean(0)
    assert torch.allclose(aggregate, seen.rows[0])


@pytest.mark.parametrize("name", ["adaptive-poisoning", "adaptive-backdoor"])
def test_before_a_clip_the_row_goes_as_far_as_it_is_let(name: str) -> None:
    def clipped(rows: Tensor) -> Tensor:
        short = rows.norm(dim=1) <= 6.0  # drops what is longer
        return rows[short].mean(0)

    seen = poisoned(clipped)
    _, rows, measured = build("attack", name).craft({}, seen, np.random.default_rng(0))
    assert 5.7 < float(rows[0].norm()) <= 6.0
    assert measured["moved"] > 0


def test_only_data_attacks_without_a_trigger_are_taken_far() -> None:
    for inner in ("ipm", "badnets", "sybil"):
        with pytest.raises(ConfigError, match="data attack"):
            build("attack", {"name": "adaptive-poisoning", "inner": inner})


def test_where_honest_rows_are_all_zero_the_search_ends() -> None:
    gamma, value, _ = largest(lambda gamma: gamma, 0.0, 20, most=5.0)
    assert (gamma, value) == (0.0, 0.0)
