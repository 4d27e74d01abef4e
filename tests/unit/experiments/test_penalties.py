"""Whom stages penalize in a round, by hand-written records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Rows
from asepsis.defenses.aggregate.feddetect import FedDetect
from asepsis.experiments.penalties import judged, penalized


def stage(verdicts: dict[str, float], **about: Any) -> dict[str, Any]:
    return {"name": "s", "verdicts": verdicts, "measurements": {}, **about}


def counting(share: float, scores: dict[str, float]) -> dict[str, Any]:
    weights = dict.fromkeys(scores, 0.01)  # what is left of old penalties
    return stage(weights, measurements={"penalized": share}, scores=scores)


@pytest.mark.parametrize(
    ("stages", "who"),
    [
        ([], set()),
        ([stage({"0": 1.0, "1": 0.5})], set()),
        ([stage({"0": 1.0, "1": 0.49, "2": 0.0})], {1, 2}),
        # What two stages let through together counts.
        ([stage({"0": 0.6, "1": 0.6}), stage({"0": 0.6, "1": 1.0})], {0}),
        # One that counts penalties: small weights alone are old ones.
        ([counting(0.0, {"0": 0.4, "1": 0.6})], set()),
        ([counting(0.25, {"0": 0.4, "1": 0.7, "2": 0.6, "3": 0.4})], {1}),
        ([counting(0.0, {"0": 0.4}), stage({"3": 0.0})], {3}),
        # Before the stage judges there are no scores.
        ([counting(0.0, {})], set()),
    ],
)
def test_who_is_penalized(stages: list[dict[str, Any]], who: set[int]) -> None:
    assert penalized({"stages": stages}) == who


def test_a_round_is_judged_when_a_stage_speaks_of_hospitals() -> None:
    assert not judged({"stages": []})
    assert not judged({"stages": [stage({})]})
    assert judged({"stages": [stage({"0": 1.0})]})
    silent = stage({"0": 1.0}, measurements={"penalized": 0.0}, scores={})
    assert not judged({"stages": [silent]})
    assert judged({"stages": [counting(0.0, {"0": 0.4})]})


def test_those_feddetect_counts_are_those_who_are_told() -> None:
    rule, rows = FedDetect(warmup=0), Rows(torch.zeros(8, 1))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        losses = torch.from_numpy(rng.normal(1, 0.3, size=8))
        losses[seed % 8] = 6.0 if seed % 2 else float("nan")
        delivery = Individual(tuple(range(8)), rows, torch.ones(8), {"loss": losses})
        _, made = rule.apply(rule.init(1), delivery, ServerContext(1, rng))
        record = stage(
            {str(client): share for client, share in made.verdicts.items()},
            measurements=dict(made.measurements),
            scores={str(client): score for client, score in made.scores.items()},
        )
        shares = torch.tensor(list(made.verdicts.values()))
        lighter = set(torch.nonzero(shares < shares.max()).ravel().tolist())
        assert penalized({"stages": [record]}) == lighter
        assert seed % 8 in lighter
