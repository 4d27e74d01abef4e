"""Secure aggregation as a transport: what is delivered, refused beforehand, and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from math import trunc

import numpy as np
import pytest
import torch

import asepsis
from asepsis.core.channel import Carried, Channel
from asepsis.core.errors import ConfigError
from asepsis.core.updates import Individual, Rows, Summed
from asepsis.defenses.transport.secure_aggregation import SecureAggregation

D = 40
FALSE = {"count": torch.nan, "larger": 1e6 + 1, "negative": -1.0, "none": 0.0, "fraction": 30.4}


def sent(n: int = 6, counts: list[float] | None = None, scale: float = 1.0) -> Individual:
    made = torch.Generator().manual_seed(3)
    rows = scale * torch.randn(n, D, generator=made)
    weights = torch.tensor(counts or [10.0 * (i + 1) for i in range(n)], dtype=torch.float64)
    loss = torch.rand(n, dtype=torch.float64, generator=made)
    return Individual(tuple(range(n)), Rows(rows), weights, {"loss": loss})


def carried(stage: SecureAggregation, updates: Individual, seed: int = 0) -> Carried:
    return stage.deliver(updates, Channel.of(updates, seed=seed))


def delivered(came: Carried) -> Summed:
    assert isinstance(came.delivery, Summed), came.aborted
    return came.delivery


def truth(updates: Individual, clip: float) -> torch.Tensor:
    rows = updates.rows.dense().double().clamp(-clip, clip)
    return updates.weights @ rows


@pytest.mark.parametrize(("bits", "max_count"), [(24, 10**6), (12, 100)])
def test_the_weighted_sum_is_exact_to_the_quantization_step(bits: int, max_count: int) -> None:
    updates = sent()
    stage = SecureAggregation(bits=bits, max_count=max_count)
    came = carried(stage, updates)
    summed = delivered(came)
    assert came.measurements["modulus_bits"] == (64 if bits == 24 else 32)
    step = stage.grid(6).step
    bound = step * summed.weight
    assert ((summed.total - truth(updates, 8.0)).abs() <= bound).all()
    assert (summed.count, summed.weight) == (6, 210.0)
    assert summed.side["loss"] == pytest.approx(float(updates.side["loss"].sum()), abs=6 * 2**-24)


@pytest.mark.parametrize(("bits", "max_count"), [(24, 1_000_000), (28, 1000), (32, 1000)])
def test_what_is_delivered_is_the_sum_of_whole_steps(bits: int, max_count: int) -> None:
    stage = SecureAggregation(bits=bits, max_count=max_count)
    updates = sent(4, [1000.0, 37.0, 512.0, 3.0], scale=4.0)
    levels = stage.grid(4).levels
    rows = updates.rows.dense().double().clamp(-8, 8)
    counts = [int(count) for count in updates.weights]
    steps = (rows / 8 * levels).trunc().to(torch.int64).tolist()
    exact = [
        sum(c * x for c, x in zip(counts, column, strict=True))
        for column in zip(*steps, strict=True)
    ]
    total = delivered(carried(stage, updates)).total
    assert total.dtype == torch.float64
    found = [Fraction(value) * levels / 8 for value in total.tolist()]
    assert all(abs(one - two) < Fraction(1, 100) for one, two in zip(found, exact, strict=True))


def test_a_rule_gives_the_model_its_own_dtype() -> None:
    made = asepsis.aggregate(sent().rows.dense(), ["secure-aggregation", "mean"])
    assert made.dtype == torch.float32


def test_every_row_is_rounded_towards_zero() -> None:
    updates = sent(3, [2.0, 3.0, 5.0])
    double = replace(updates, rows=Rows(updates.rows.dense().double()))
    stage = SecureAggregation(bits=6, clip=1.0)
    two, three, five = (
        [trunc(min(max(x, -1), 1) * 31) for x in row] for row in double.rows.dense().tolist()
    )
    columns = zip(two, three, five, strict=True)
    expected = [(2 * a + 3 * b + 5 * c) / 31 for a, b, c in columns]
    assert delivered(carried(stage, double)).total.tolist() == pytest.approx(expected, abs=1e-12)


def test_without_weights_every_hospital_counts_once() -> None:
    updates = sent(counts=[1e9] * 6)
    summed = delivered(carried(SecureAggregation(weighted=False), updates))
    assert summed.weight == 6
    assert torch.allclose(summed.total, updates.rows.dense().double().sum(0), atol=1e-5)


def test_what_is_cut_is_measured() -> None:
    updates = sent()
    outside = (updates.rows.dense().abs() > 1.5).sum().item()
    assert outside > 0
    came = carried(SecureAggregation(clip=1.5), updates)
    assert came.measurements["clipped"] == pytest.approx(outside / (6 * (D + 1)))
    assert torch.allclose(delivered(came).total.double(), truth(updates, 1.5), atol=1e-3)


@pytest.mark.parametrize("what", ["row", "loss", "count", "larger", "negative", "none", "fraction"])
def test_a_hospital_with_nothing_fit_to_send_drops_out(what: str) -> None:
    updates = sent()
    rows, weights, loss = updates.rows.dense().clone(), updates.weights, updates.side["loss"]
    if what == "row":
        rows[2, 7] = torch.inf
    elif what == "loss":
        loss[2] = torch.nan
    else:
        weights[2] = FALSE[what]
    came = carried(
        SecureAggregation(), Individual(updates.clients, Rows(rows), weights, {"loss": loss})
    )
    kept = torch.tensor([0, 1, 3, 4, 5])
    assert came.measurements["unfit"] == came.measurements["dropped"] == 1
    assert delivered(came).count == 5
    assert torch.allclose(
        delivered(came).total.double(), weights[kept] @ rows[kept].double(), atol=1e-3
    )


def test_who_began_and_does_not_answer_is_a_dropout() -> None:
    updates = sent()
    some = updates.select(torch.tensor([0, 1, 2, 4, 5]))
    channel = replace(Channel.of(updates), drawn=tuple(range(6)))
    came = SecureAggregation().deliver(some, channel)
    assert came.measurements["dropped"] == 1
    assert torch.allclose(delivered(came).total.double(), truth(some, 8.0), atol=1e-3)
    few = SecureAggregation().deliver(updates.select(torch.tensor([0, 1, 2, 4])), channel)
    assert few.delivery is None
    assert "too few hospitals" in str(few.aborted)


def test_late_dropouts_are_in_the_sum_or_stop_the_round() -> None:
    updates = sent(8)
    outcomes = [carried(SecureAggregation(late_dropout=0.15), updates, seed) for seed in range(12)]
    sums = [came for came in outcomes if came.delivery is not None]
    assert 0 < len(sums) < len(outcomes)
    for came in sums:
        assert torch.allclose(delivered(came).total.double(), truth(updates, 8.0), atol=1e-3)
    messages = {came.measurements["messages"] for came in sums}
    assert len(messages) > 1


def test_the_same_generator_gives_the_same_bytes() -> None:
    updates, stage = sent(), SecureAggregation()
    one, two, other = (carried(stage, updates, seed) for seed in (1, 1, 2))
    assert wire(one)[3].equal(wire(two)[3])
    assert not wire(one)[3].equal(wire(other)[3])
    assert delivered(one).total.equal(delivered(other).total)


def wire(came: Carried) -> Mapping[int, torch.Tensor]:
    assert came.wire is not None
    return came.wire


def test_what_passes_on_the_wire_is_no_row() -> None:
    made = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 20_000, generator=made)
    updates = Individual((0, 1, 2, 3), Rows(rows), torch.ones(4, dtype=torch.float64))
    came = carried(SecureAggregation(), updates)
    assert sorted(wire(came)) == [0, 1, 2, 3]
    for client, seen in wire(came).items():
        assert seen.shape == (20_000,)
        both = np.corrcoef(seen.numpy(), rows[client].numpy())
        assert abs(both[0, 1]) < 4 / np.sqrt(20_000)
        assert seen.std() > 1e6


def test_different_models_are_noticed_where_the_model_is_bound() -> None:
    updates = sent()
    received = dict.fromkeys(range(6), b"a" * 32) | {4: b"b" * 32}
    channel = replace(Channel.of(updates), received=received)
    came = SecureAggregation().deliver(updates, channel)
    assert came.delivery is None
    assert "inconsistent broadcast" in str(came.aborted)
    loose = SecureAggregation(bind_broadcast=False).deliver(updates, channel)
    assert torch.allclose(delivered(loose).total.double(), truth(updates, 8.0), atol=1e-3)


def test_a_hospital_larger_than_the_modulus_was_chosen_for_is_an_error() -> None:
    stage = SecureAggregation(max_count=500)
    stage.check_weights({0: 500.0, 1: 3.0})
    with pytest.raises(ConfigError, match="hospital 1 has more samples than max_count"):
        stage.check_weights({0: 10.0, 1: 501.0})
    SecureAggregation(max_count=500, weighted=False).check_weights({1: 501.0})


@pytest.mark.parametrize(
    ("options", "n", "reason"),
    [
        ({}, 2, "fewer than 3 honest hospitals"),
        ({"colluders": 3}, 5, "fewer than 3 honest hospitals"),
        ({"colluders": 4}, 8, None),
        ({"threshold": 0.5}, 8, None),
        ({"threshold": 0.5, "colluders": 2}, 20, "a lying server could hear two answers"),
        ({"threshold": 0.6, "colluders": 2}, 20, None),
        ({"bits": 32, "max_count": 10**9}, 10, "could wrap around"),
        ({"graph": "k-regular"}, 5, "no k-regular graph of 5 hospitals"),
        ({"graph": "k-regular"}, 100, None),
    ],
)
def test_cohorts_that_the_protocol_does_not_protect_are_refused(
    options: dict[str, object], n: int, reason: str | None
) -> None:
    stage = SecureAggregation(**options)  # type: ignore[arg-type]
    if reason is None:
        stage.check_cohort(n)
        return
    with pytest.raises(ConfigError, match=reason):
        stage.check_cohort(n)
    assert reason in str(carried(stage, sent(n)).aborted)


def test_the_graph_is_sparse_from_some_cohort_on() -> None:
    auto = SecureAggregation()
    assert [auto.shape_of(n).degree for n in (5, 49, 100)] == [4, 48, 30]
    complete = SecureAggregation(graph="complete").shape_of(100)
    assert (complete.degree, complete.threshold, complete.quorum) == (99, 67, 67)


def test_at_least_three_honest_hospitals_are_in_every_sum() -> None:
    for colluders in (0, 1, 2):
        stage = SecureAggregation(threshold=0.9, colluders=colluders)
        assert all(stage.shape_of(n).quorum - colluders >= 3 for n in range(colluders + 3, 20))


def test_a_sparse_graph_delivers_what_the_complete_one_does() -> None:
    updates = sent(28)
    channels = [replace(Channel.of(updates), drawn=tuple(range(30))) for _ in range(2)]
    sparse = SecureAggregation(graph="k-regular").deliver(updates, channels[0])
    complete = SecureAggregation(graph="complete").deliver(updates, channels[1])
    assert sparse.measurements["neighbors"] < complete.measurements["neighbors"]
    assert sparse.measurements["bytes_down_max"] < complete.measurements["bytes_down_max"]
    assert delivered(sparse).total.equal(delivered(complete).total)
