"""A monitor scores every update and changes nothing at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.core.updates import Individual, Rows
from asepsis.defenses.reports import Outcome
from asepsis.defenses.screen import monitor
from asepsis.defenses.stack import build_pipeline

MATRIX = torch.from_numpy(np.random.default_rng(0).normal(size=(7, 30)))


def outcome(stack: list[Any], rows: torch.Tensor = MATRIX) -> Outcome:
    pipeline = build_pipeline(stack)
    sent = Individual(tuple(range(3, 3 + len(rows))), Rows(rows), torch.ones(len(rows)).double())
    return pipeline.receive(pipeline.init(rows.shape[1]), sent, 2, Streams(5))[1]


def delta(stack: list[Any]) -> torch.Tensor:
    made = outcome(stack).aggregate
    assert made is not None
    return made.delta


@pytest.mark.parametrize(
    "stack",
    [
        ["mean"],
        [{"name": "dnc", "coordinates": 5}, "mean"],
        ["bucketing", "median"],
        ["median", {"name": "gaussian-noise", "std": 0.1}],
    ],
    ids=["mean", "dnc", "bucketing", "noise"],
)
def test_a_stack_draws_the_same_numbers_with_and_without_a_monitor(stack: list[Any]) -> None:
    assert torch.equal(delta(stack), delta(["monitor", *stack]))
    assert torch.equal(delta(stack), delta(["monitor", "monitor", *stack]))


def test_stages_behind_another_screen_draw_other_numbers() -> None:
    stack = ["bucketing", "median"]
    assert not torch.equal(delta(stack), delta([{"name": "norm-clip", "max_norm": 1e6}, *stack]))


def test_scores_are_told_by_detector_and_hospital_and_are_no_verdicts() -> None:
    made = outcome([{"name": "monitor", "detectors": ["norm", "rflbat"]}, "mean"])
    report = made.stages[0]
    assert (report.name, report.changed, report.verdicts, report.scores) == ("monitor", 0, {}, {})
    assert {k: list(v) for k, v in made.monitors().items()} == {
        name: [str(client) for client in range(3, 10)] for name in ("norm", "rflbat")
    }
    assert all("monitors" not in stage for stage in made.record())


def test_what_is_said_of_a_group_is_said_of_all_in_it() -> None:
    pipeline = build_pipeline(["monitor", "mean"])
    sent = Individual((0, 1, 2, 3, 4, 5, 6), Rows(MATRIX), torch.ones(7).double())
    from asepsis.core.channel import Channel
    from asepsis.defenses.transport.grouped_secure_sum import GroupedSecureSum

    grouped = GroupedSecureSum(regroup=False).deliver(sent, Channel.of(sent)).delivery
    assert grouped is not None
    told = pipeline.receive(pipeline.init(30), grouped, 0, Streams(0))[1].monitors()["distance"]
    assert sorted(told) == [str(client) for client in range(7)]
    assert told["0"] == told["1"] == told["2"]


def brute(name: str, x: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    middle = np.median(x, axis=0)
    lengths = [float(np.sqrt(sum(v * v for v in row))) for row in x]
    away = [float(np.linalg.norm(row - middle)) for row in x]

    def cos(a: Any, b: Any) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    if name == "norm":
        return [abs(float(np.log(one / np.median(lengths)))) for one in lengths]
    if name == "cosine":
        return [1 - cos(row, middle) for row in x]
    if name == "distance":
        return [one / float(np.median(away)) for one in away]
    if name == "likeness":
        return [max(cos(a, b) for j, b in enumerate(x) if j != i) for i, a in enumerate(x)]
    near = []
    for i, a in enumerate(x):
        others = sorted(float((a - b) @ (a - b)) for j, b in enumerate(x) if j != i)
        near.append(float(np.sqrt(np.mean(others[: len(x) // 2 - 1]))))
    return [one / float(np.median(near)) for one in near]


@pytest.mark.parametrize("name", ["norm", "cosine", "distance", "neighbors", "likeness"])
def test_own_scores_are_their_formulas(name: str) -> None:
    made = monitor.OWN[name](Rows(MATRIX))
    assert made.tolist() == pytest.approx(brute(name, MATRIX.numpy()), rel=1e-9)


@pytest.mark.parametrize(("name", "rule"), [("three-sigma", "screen"), ("dos", "aggregator")])
def test_borrowed_scores_are_those_of_the_defense(name: str, rule: str) -> None:
    told = outcome([{"name": "monitor", "detectors": [name]}, "mean"]).monitors()[name]
    stack = [name, "mean"] if rule == "screen" else [name]
    [scores] = [stage.scores for stage in outcome(stack).stages if stage.name == name]
    assert told == {str(client): value for client, value in scores.items()}


def test_a_detector_that_refuses_the_cohort_says_nothing() -> None:
    told = outcome([{"name": "monitor", "detectors": ["dnc", "norm"]}, "mean"], MATRIX[:1])
    assert np.isnan(told.monitors()["dnc"]["3"])
    assert told.monitors()["norm"]["3"] == 0.0
    assert told.void is None


@pytest.mark.parametrize("value", [0.0, 1.0, 1e37])
def test_equal_rows_are_all_alike(value: float) -> None:
    told = outcome(["monitor", "mean"], torch.full((6, 4), value)).monitors()
    for name in ("norm", "cosine", "distance", "neighbors", "likeness", "dos"):
        scores = set(told[name].values())
        assert len(scores) == 1, name
        assert np.isfinite(list(scores)).all()


def test_unknown_detectors_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"detectors.*'norm'"):
        build("screen", {"name": "monitor", "detectors": ["nrom"]})
    with pytest.raises(ConfigError, match="detectors"):
        build("screen", {"name": "monitor", "detectors": []})


def test_nobody_can_be_watched_behind_a_secure_sum() -> None:
    with pytest.raises(ConfigError, match="monitor cannot work behind secure-sum"):
        build_pipeline(["secure-sum", "monitor", "mean"])
