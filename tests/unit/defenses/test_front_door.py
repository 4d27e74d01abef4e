"""The front door: what non-finite rows, absurd counts and spoiled sums may do, which is nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import asepsis
from asepsis.core.channel import Channel
from asepsis.core.errors import QuorumError
from asepsis.core.registry import build, entries
from asepsis.core.rng import Streams
from asepsis.core.updates import Individual, Rows, Summed
from asepsis.defenses.reports import Outcome
from asepsis.defenses.stack import build_pipeline
from asepsis.testing import cohorts

ROWS = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0], [4.0, 5.0], [5.0, 3.0]])
NON_FINITE = (math.nan, math.inf, -math.inf)
BY_COUNT = {"mean", "robust-lr", "slsgd"}
"""Rules that weigh rows by claimed counts."""

RULES = [entry.name for entry in entries("aggregator")]


def with_bad(values: list[float], rows: torch.Tensor = ROWS) -> torch.Tensor:
    """Append one row for each value, bad in its last coordinate only."""
    bad = torch.zeros(len(values), rows.shape[1], dtype=rows.dtype)
    bad[:, -1] = torch.tensor(values, dtype=rows.dtype)
    return torch.cat([rows, bad])


def receive(stack: list[Any], rows: torch.Tensor, weights: list[float] | None = None) -> Outcome:
    pipeline = build_pipeline(stack)
    claimed = torch.tensor(weights or [1.0] * len(rows), dtype=torch.float64)
    side = {"loss": 1.0 + torch.arange(len(rows), dtype=torch.float64) / 10}
    sent = Individual(tuple(range(10, 10 + len(rows))), Rows(rows), claimed, side)
    delivery = pipeline.transport.deliver(sent, Channel.of(sent)).delivery
    assert delivery is not None
    return pipeline.receive(
        pipeline.init(rows.shape[1]), delivery, 0, Streams(0), cohorts.desk(rows.shape[1])
    )[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", NON_FINITE)
@pytest.mark.parametrize("rule", RULES)
def test_a_non_finite_row_is_dropped_and_named_under_every_rule(
    rule: str, value: float, dtype: torch.dtype
) -> None:
    rows = ROWS.to(dtype)
    outcome = receive([rule], with_bad([value], rows))
    assert outcome.dropped == (16,)
    assert outcome.aggregate is not None
    assert torch.isfinite(outcome.aggregate.delta).all()
    assert 16 not in outcome.aggregate.verdicts
    if "f" in type(build("aggregator", rule)).__dataclass_fields__:
        expected = receive([{"name": rule, "f": 0}], rows)
    else:
        expected = receive([rule], rows)
    assert expected.aggregate is not None
    assert torch.equal(outcome.aggregate.delta, expected.aggregate.delta)


def test_every_non_finite_row_spends_one_of_f() -> None:
    for bad in range(4):
        outcome = receive([{"name": "trimmed-mean", "f": 2}], with_bad([math.nan] * bad))
        assert outcome.aggregate is not None
        assert outcome.aggregate.measurements["f"] == max(2 - bad, 0)


TIGHT = torch.tensor([[0.0, 0.1], [0.2, 0.0], [0.1, 0.2], [0.0, 0.0]])


def caught(values: list[float], rows: torch.Tensor = TIGHT) -> torch.Tensor:
    """Append one row for each value that a screen finds at once."""
    return torch.cat([rows, torch.tensor(values)[:, None].repeat(1, 2)])


def test_who_is_caught_by_a_screen_does_not_void_the_round_of_a_minimal_cohort() -> None:
    """Krum with f = 1 needs five: four and the one that lets itself be caught."""
    outcome = receive(["three-sigma", {"name": "krum", "f": 1}], caught([1e6]))
    assert outcome.stages[0].verdicts[14] == 0.0
    expected = receive([{"name": "krum", "f": 0}], TIGHT)
    assert outcome.aggregate is not None
    assert expected.aggregate is not None
    assert torch.equal(outcome.aggregate.delta, expected.aggregate.delta)


@pytest.mark.parametrize("values", [[], [1e6], [1e6, -1e6]])
def test_what_a_screen_drops_spends_no_f_where_enough_rows_are_left(values: list[float]) -> None:
    """It may have been honest: then the hostile ones are still there."""
    outcome = receive(["three-sigma", {"name": "trimmed-mean", "f": 2}], caught(values, ROWS / 10))
    assert outcome.stages[0].measurements["dropped"] == len(values)
    assert outcome.stages[1].measurements["f"] == 2


def test_it_spends_as_much_as_leaves_a_quorum() -> None:
    outcome = receive(["three-sigma", {"name": "trimmed-mean", "f": 2}], caught([1e6, -1e6, 2e6]))
    dropped = outcome.stages[0].measurements["dropped"]
    assert outcome.stages[1].measurements["f"] == (4 - 1) // 2 if dropped == 3 else 2


def test_front_door_and_screens_may_drop_more_than_f() -> None:
    rows = with_bad([math.nan], caught([1e6, -1e6], ROWS / 10))
    outcome = receive(["three-sigma", {"name": "trimmed-mean", "f": 1}], rows)
    assert outcome.dropped == (18,)
    assert outcome.stages[0].measurements["dropped"] == 2
    assert outcome.stages[1].measurements["f"] == 0  # the front door's spends it


def test_a_dropped_honest_row_opens_no_door_to_a_hidden_one() -> None:
    """Multi-Krum keeps its f = 1 although three-sigma took the wrong one."""
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(1.0, 0.1, size=(10, 40))).float()
    rows[3] *= 5.0  # honest, with much more to say
    rows[8] += 0.09 * torch.from_numpy(rng.normal(size=40)).float()  # hostile, a little noisier
    outcome = receive(["three-sigma", {"name": "multi-krum", "f": 1}], rows)
    assert outcome.stages[0].verdicts[13] == 0.0
    assert outcome.aggregate is not None
    assert outcome.aggregate.verdicts[18] == 0.0


def test_a_row_that_lives_on_in_a_bucket_spends_nothing() -> None:
    rows = torch.cat([ROWS, ROWS])
    outcome = receive(["bucketing", {"name": "trimmed-mean", "f": 2}], rows)
    assert outcome.stages[1].measurements["f"] == 2


def test_rows_too_large_to_square_count_as_infinite() -> None:
    rows = torch.cat([ROWS.double(), torch.full((1, 2), 1e200, dtype=torch.float64)])
    assert receive(["mean"], rows).dropped == (16,)


@pytest.mark.parametrize("stack", [["krum"], ["norm-clip", "krum"]])
def test_too_few_rows_left_is_a_refusal_in_both_entrances(stack: list[str]) -> None:
    rows = with_bad([math.nan, math.inf, -math.inf, math.nan], ROWS[:2])
    outcome = receive(stack, rows)
    assert outcome.aggregate is None
    assert str(outcome.void).startswith("no-quorum: krum needs at least 3 rows")
    assert outcome.dropped == (12, 13, 14, 15)
    with pytest.raises(QuorumError, match="krum needs at least 3 rows; got 2"):
        asepsis.aggregate(rows, stack)


@pytest.mark.parametrize("stack", [["mean"], ["norm-clip", "mean"], ["norm-clip", "norm-clip"]])
def test_a_round_without_one_finite_row_is_void(stack: list[str]) -> None:
    outcome = receive(stack, torch.full((4, 2), math.nan))
    assert outcome.aggregate is None
    assert str(outcome.void).startswith("no-quorum")
    assert outcome.dropped == (10, 11, 12, 13)


def test_a_void_round_leaves_the_state_as_it_was() -> None:
    pipeline = build_pipeline(["centered-clipping"])
    state = {"0/momentum": torch.ones(2, dtype=torch.float64)}
    ones = torch.ones(3, dtype=torch.float64)
    sent = Individual((0, 1, 2), Rows(torch.full((3, 2), math.nan)), ones)
    after, outcome = pipeline.receive(state, sent, 0, Streams(0))
    assert outcome.aggregate is None
    assert torch.equal(after["0/momentum"], torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("value", [*NON_FINITE, 2e30, -2e30])
def test_behind_a_secure_sum_one_bad_row_voids_the_round_and_nobody_is_named(value: float) -> None:
    outcome = receive(["secure-sum", "mean"], with_bad([value]))
    assert outcome.aggregate is None
    assert outcome.void == "non-finite or out-of-range sum"
    assert outcome.dropped == ()
    with pytest.raises(QuorumError, match="non-finite or out-of-range sum"):
        asepsis.aggregate(with_bad([value]), ["secure-sum", "mean"])


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_sum_of_absurd_weight_voids_the_round(weight: float) -> None:
    pipeline = build_pipeline(["secure-sum", "mean"])
    total = Summed(count=3, total=torch.ones(2), weight=weight)
    assert pipeline.receive({}, total, 0, Streams(0))[1].aggregate is None


def test_a_mean_of_a_sum_that_overflows_is_void() -> None:
    pipeline = build_pipeline(["secure-sum", "mean"])
    total = Summed(count=3, total=torch.full((2,), 1e30), weight=1e-20)
    outcome = pipeline.receive({}, total, 0, Streams(0))[1]
    assert outcome.aggregate is None
    assert outcome.void == "overflow"


@pytest.mark.parametrize("weighted", [True, False])
def test_behind_a_secure_sum_a_count_that_is_no_number_is_none(weighted: bool) -> None:
    rows = torch.tensor([[1.0], [2.0], [50.0]])
    channel = {"name": "secure-sum", "weighted": weighted}
    outcome = receive([channel, "mean"], rows, [10.0, 30.0, math.nan])
    assert outcome.aggregate is not None
    expected = 1.75 if weighted else 53 / 3
    assert outcome.aggregate.delta.tolist() == pytest.approx([expected])


def test_a_secure_sum_takes_no_negative_counts() -> None:
    """Ten against minus nine would multiply the difference of two rows by ten."""
    rows = torch.tensor([[1.0], [0.0]])
    outcome = receive(["secure-sum", "mean"], rows, [10.0, -9.0])
    assert outcome.aggregate is not None
    assert outcome.aggregate.delta.tolist() == [1.0]


@pytest.mark.parametrize("claim", [math.nan, math.inf, -math.inf, -5.0, -1e300, 1e300, 1e9])
def test_no_claimed_count_captures_the_mean(claim: float) -> None:
    """Nine at 0 with 100 samples, one at 1 that claims: capped at ten times the median."""
    rows = torch.zeros(10, 1)
    rows[-1] = 1.0
    outcome = receive(["mean"], rows, [100.0] * 9 + [claim])
    assert outcome.aggregate is not None
    assert 0.0 <= float(outcome.aggregate.delta) <= 1000 / 1900 + 1e-6


def test_a_cap_on_counts_is_exact_and_can_be_lifted() -> None:
    rows = torch.tensor([[0.0], [0.0], [1.0]])
    capped = receive(["mean"], rows, [10.0, 20.0, 1e6])
    free = receive([{"name": "mean", "max_weight_ratio": None}], rows, [10.0, 20.0, 1e6])
    plain = receive([{"name": "mean", "weighted": False}], rows, [10.0, 20.0, 1e6])
    assert capped.aggregate is not None
    assert free.aggregate is not None
    assert plain.aggregate is not None
    assert float(capped.aggregate.delta) == pytest.approx(200 / 230)
    assert float(free.aggregate.delta) == pytest.approx(1e6 / (1e6 + 30))
    assert float(plain.aggregate.delta) == pytest.approx(1 / 3)


def test_when_nobody_claims_a_sample_all_count_the_same() -> None:
    outcome = receive(["mean"], torch.tensor([[0.0], [4.0]]), [0.0, 0.0])
    assert outcome.aggregate is not None
    assert outcome.aggregate.delta.tolist() == [2.0]


@pytest.mark.parametrize("rule", [name for name in RULES if name not in BY_COUNT])
def test_order_and_distance_rules_ignore_claimed_counts(rule: str) -> None:
    rng = np.random.default_rng(3)
    rows = torch.from_numpy(rng.normal(size=(9, 4)))
    plain = receive([rule], rows)
    claimed = receive([rule], rows, [1e9, 0.0, *[float(x) for x in rng.integers(1, 99, size=7)]])
    assert plain.aggregate is not None
    assert claimed.aggregate is not None
    assert torch.equal(plain.aggregate.delta, claimed.aggregate.delta)


def test_the_record_says_what_every_stage_changed() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 1.0]])
    record = receive([{"name": "norm-clip", "max_norm": 1.0}, "median"], rows).record()
    clip, median = record
    assert (clip["name"], clip["room"]) == ("norm-clip", "screen")
    assert clip["changed"] == pytest.approx(1 / 3)
    assert clip["verdicts"] == pytest.approx({"10": 0.2, "11": 1.0, "12": 1.0})
    # Median (0.3, 0.8); the mean of what it received is (0.3, 2.2 / 3).
    assert (median["name"], median["room"]) == ("median", "aggregator")
    assert median["changed"] == pytest.approx((0.8 - 2.2 / 3) / math.hypot(0.3, 2.2 / 3), rel=1e-5)
    assert receive(["mean"], rows).record()[0]["changed"] == pytest.approx(0.0, abs=1e-6)


def test_a_rule_that_only_ignores_claimed_counts_has_changed_nothing() -> None:
    weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    for stack in (["mean"], [{"name": "mean", "weighted": False}], [{"name": "meamed", "f": 0}]):
        record = receive(stack, ROWS, weights).record()
        assert record[0]["changed"] == pytest.approx(0.0, abs=1e-6)
    assert receive(["krum"], ROWS, weights).record()[0]["changed"] > 0.1


@pytest.mark.parametrize("value", NON_FINITE)
def test_a_lone_row_that_is_not_finite_leaves_the_noise_of_a_rule_that_hides_who_is_there(
    value: float,
) -> None:
    outcome = receive([{"name": "dp-mean", "bound": 3.0}], with_bad([value], ROWS[:0]))
    assert (outcome.void, outcome.dropped) == (None, (10,))
    assert outcome.aggregate is not None
    assert torch.isfinite(outcome.aggregate.delta).all()
    assert (outcome.aggregate.delta != 0).all()
    assert receive(["mean"], with_bad([value], ROWS[:0])).aggregate is None
