"""DP-FedAvg: the sum, its noise, its bound, and the sampler that the accountant assumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from dp_bench import federation_of, parts, played
from scipy.stats import binom, kstest

from asepsis.core.errors import ConfigError
from asepsis.core.privacy import PrivacyFacts
from asepsis.core.registry import build
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Rows, Summed
from asepsis.defenses.aggregate.dp_mean import DpMean
from asepsis.defenses.client.clip import ClientClip
from asepsis.defenses.stack import build_pipeline
from asepsis.federation.federation import Schedule
from asepsis.metrics.privacy import epsilon

ROWS = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.5], [0.0, 0.3, 0.4]])


def context(seed: int = 0, expected: float | None = None) -> ServerContext:
    rng = np.random.Generator(np.random.Philox(seed))
    return ServerContext(0, rng, expected=expected)


def delivered(weights: tuple[float, ...] = (1, 50, 9)) -> Individual:
    return Individual((0, 1, 2), Rows(ROWS), torch.tensor(weights, dtype=torch.float64))


def summed(within: float | None = 2.0) -> Summed:
    clipped = ROWS * (1 / ROWS.norm(dim=1)).clamp(max=1.0)[:, None]
    side = {} if within is None else {"within_bound": within}
    return Summed(3, clipped.sum(dim=0), 3.0, side)


def test_rows_are_bounded_summed_and_divided_by_the_expected_cohort() -> None:
    rule = DpMean(noise_multiplier=0.0, bound=1.0)
    state = rule.init(3)
    clipped = torch.tensor([0.6, 0.8 + 0.3, 0.5 + 0.4])
    for delivery in (delivered(), delivered((1, 1, 1)), summed()):
        for expected in (3.0, 6.5):
            _, made = rule.apply(state, delivery, context(expected=expected))
            torch.testing.assert_close(made.delta, clipped / expected)
    _, alone = rule.apply(state, delivered(), context())
    torch.testing.assert_close(alone.delta, clipped / 3)


def test_one_hospital_more_or_less_moves_the_sum_by_no_more_than_the_bound() -> None:
    rule = DpMean(noise_multiplier=2.0, bound=0.7)
    state, rows = rule.init(3), delivered()
    _, with_all = rule.apply(state, rows, context(expected=5.0))
    _, without = rule.apply(state, rows.select(torch.tensor([1, 2])), context(expected=5.0))
    assert float((with_all.delta - without.delta).norm()) <= 0.7 / 5 + 1e-6


def test_noise_on_sum_and_count_together_is_one_mechanism_of_the_asked_multiplier() -> None:
    rule = DpMean(noise_multiplier=1.5)
    for expected in (5.0, 1000.0):
        on_sum, on_count = rule.split(expected)
        assert 1 / on_sum**2 + 1 / (2 * on_count) ** 2 == pytest.approx(1 / 1.5**2)
        assert on_sum >= 1.5
    assert rule.split(1000.0)[1] == 50.0
    assert DpMean(noise_multiplier=1.5, quantile=None).split(5.0) == (1.5, 0.0)


def test_every_coordinate_gets_the_noise_and_it_scales_with_the_bound() -> None:
    rule = DpMean(noise_multiplier=2.0, bound=0.25)
    still = DpMean(noise_multiplier=0.0, bound=0.25).apply(
        rule.init(3), delivered(), context(expected=4.0)
    )[1]
    made = [rule.apply(rule.init(3), delivered(), context(s, 4.0))[1].delta for s in range(2000)]
    noise = torch.stack(made) - still.delta
    std = rule.split(4.0)[0] * 0.25 / 4
    for column in range(3):
        assert kstest((noise[:, column] / std).numpy(), "norm").pvalue > 1e-3


def test_the_bound_follows_the_quantile_by_noised_counts() -> None:
    rule = DpMean(noise_multiplier=0.0, bound=1.0, quantile=0.5, rate=0.2)
    state, _ = rule.apply(rule.init(3), delivered(), context(expected=3.0))
    assert float(state["bound"]) == pytest.approx(math.exp(-0.2 * (2 / 3 - 0.5)))
    behind, _ = rule.apply(rule.init(3), summed(2.0), context(expected=3.0))
    assert float(behind["bound"]) == pytest.approx(float(state["bound"]))
    noisy = DpMean(noise_multiplier=2.0, bound=1.0, rate=0.2)
    after = [
        float(noisy.apply(noisy.init(3), delivered(), context(seed, 3.0))[0]["bound"])
        for seed in range(1500)
    ]
    counts = -np.log(after) / 0.2 + 0.5  # = within / m + noise / m
    assert counts.std() == pytest.approx(2.0 / 3, rel=0.08)
    fixed = DpMean(quantile=None, bound=3.0)
    assert float(fixed.apply(fixed.init(3), delivered(), context())[0]["bound"]) == 3.0


@pytest.mark.parametrize(("said", "counted"), [(1e9, 3.0), (-5.0, 0.0), (math.inf, 3.0)])
def test_no_more_hospitals_are_within_the_bound_than_there_are(said: float, counted: float) -> None:
    rule = DpMean(noise_multiplier=0.0)
    claimed, true = (
        rule.apply(rule.init(3), summed(within), context(expected=3.0))[0]["bound"]
        for within in (said, counted)
    )
    assert float(claimed) == float(true)


def test_a_count_that_is_no_number_moves_no_bound() -> None:
    rule = DpMean(noise_multiplier=0.0)
    state, _ = rule.apply(rule.init(3), summed(math.nan), context(expected=3.0))
    assert float(state["bound"]) == rule.bound


def test_a_sum_of_rows_that_nobody_bounded_is_refused() -> None:
    with pytest.raises(ConfigError, match="client-clip"):
        build_pipeline(["secure-sum", "dp-mean"])
    rule = DpMean()
    state, _ = rule.apply(rule.init(3), summed(None), context(expected=3.0))
    assert state["bound"] == rule.bound


def test_the_recipe_stands_before_and_after_a_transport() -> None:
    for specs in (["secure-sum", "dp-fedavg"], ["dp-fedavg"]):
        stack = build_pipeline(specs)
        assert [type(stage) for stage in stack.clients] == [ClientClip]
        assert isinstance(stack.rule, DpMean)
    names = [named.name for named in build_pipeline(["secure-sum", "dp-fedavg"]).names]
    assert names == ["client-clip", "secure-sum", "dp-mean"]
    with pytest.raises(ConfigError, match="out of order"):
        build_pipeline(["secure-sum", "client-clip", "mean"])


@pytest.mark.parametrize("transport", ["plain", "secure-sum"])
def test_in_a_round_hospitals_count_alike_and_only_row_and_bit_leave(transport: str) -> None:
    quiet = {"name": "dp-fedavg", "noise_multiplier": 0.0, "bound": 0.01}
    federation, state, outcome = played(parts(pipeline=build_pipeline([transport, quiet])))
    sent = outcome.sent
    assert sent is not None
    assert set(sent.side) == {"within_bound"}
    assert sent.weights.tolist() == [1.0] * 6
    assert bool((sent.rows.dense().norm(dim=1) <= 0.01 + 1e-7).all())
    mean = sent.rows.dense().mean(dim=0)
    torch.testing.assert_close(state.row - federation.begin().row, mean, rtol=1e-3, atol=1e-7)


def test_both_channels_give_the_same_model() -> None:
    noisy = {"name": "dp-fedavg", "bound": 0.5}
    rows = [
        played(parts(pipeline=build_pipeline([transport, noisy])), rounds=3)[1].row
        for transport in ("plain", "secure-sum")
    ]
    torch.testing.assert_close(rows[0], rows[1], rtol=1e-4, atol=1e-6)


def test_a_round_that_nobody_is_drawn_for_is_noise_like_any_other() -> None:
    schedule = Schedule(rounds=1, participation=1e-9, sampling="poisson")
    stack = build_pipeline([{"name": "dp-fedavg", "noise_multiplier": 1.0, "bound": 1e-9}])
    federation, state, outcome = played(parts(pipeline=stack, schedule=schedule))
    assert outcome.cohort.drawn == ()
    assert outcome.void is None
    assert not torch.equal(state.row, federation.begin().row)


def test_the_sampler_is_the_one_that_the_accountant_assumes() -> None:
    schedule = Schedule(rounds=1, participation=0.3, sampling="poisson")
    federation = federation_of(parts(hospitals=12, schedule=schedule))
    drawn = np.array([[i in federation.cohort(t).drawn for i in range(12)] for t in range(3000)])
    assert drawn.mean(axis=0) == pytest.approx(0.3, abs=0.03)
    assert drawn.sum(axis=1).std() == pytest.approx(binom.std(12, 0.3), rel=0.06)
    pairs = np.cov(drawn.T.astype(float))
    assert np.abs(pairs[~np.eye(12, dtype=bool)]).max() < 0.02
    facts = PrivacyFacts(rounds=40, hospitals=12, samples={}, participation=0.3, sampling="poisson")
    claim = DpMean(noise_multiplier=1.2).privacy(facts)
    assert (claim.sampling, claim.sample_rate, claim.steps) == ("poisson", 0.3, 40)
    assert claim.epsilon == epsilon(noise_multiplier=1.2, sample_rate=0.3, steps=40, delta=1e-5)


def test_a_fixed_cohort_gets_no_amplification() -> None:
    facts = PrivacyFacts(rounds=40, hospitals=12, samples={}, participation=0.3)
    claim = DpMean(noise_multiplier=5.0).privacy(facts)
    assert (claim.sampling, claim.sample_rate) == ("all", 1.0)
    assert claim.epsilon == epsilon(noise_multiplier=5.0, sample_rate=1.0, steps=40, delta=1e-5)


@pytest.mark.parametrize(
    ("trainer", "stack"),
    [("dp-sgd", ["feddetect"]), ("sgd", ["client-noise", "feddetect"])],
)
def test_a_stage_that_needs_telemetry_is_refused_where_none_leaves(
    trainer: str, stack: list[str]
) -> None:
    made = parts(trainer=build("trainer", trainer), pipeline=build_pipeline(stack))
    with pytest.raises(ConfigError, match="needs what the server does not have"):
        federation_of(made)
