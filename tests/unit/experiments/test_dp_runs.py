"""Runs that promise privacy: the promise is in the footer, no loss is, engines agree."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.federation import private
from asepsis.metrics.privacy import epsilon

DP_SGD = {"name": "dp-sgd", "steps": 2, "batch_size": 4, "noise_multiplier": 2.0}


def spec(**changes: Any) -> Experiment:
    table = {
        "dataset": "breast-cancer",
        "trainer": {"name": "sgd", "steps": 2},
        "federation": {"hospitals": 4, "rounds": 3},
    }
    made: Experiment = parse(Experiment, {**table, **changes}, "")
    return made


def played(made: Experiment, engine: str = "serial") -> list[Any]:
    return run_experiment(made, options=RunOptions(engine=engine))


def test_the_footer_holds_the_promise_and_no_round_holds_a_loss() -> None:
    lines = played(spec(trainer=DP_SGD))
    (claim,) = lines[-1]["result"]["privacy"]
    assert (claim["unit"], claim["trust"], claim["sampling"]) == ("record", "local", "poisson")
    assert claim["steps"] == 6
    assert claim["epsilon"] == epsilon(
        noise_multiplier=2.0, sample_rate=claim["sample_rate"], steps=6, delta=1e-5
    )
    assert {one["hospital"] for one in claim["also"]} | {claim["hospital"]} == {0, 1, 2, 3}
    losses = [loss for line in lines[1:-1] for loss in line["result"]["train_loss"].values()]
    assert all(loss is None or math.isnan(loss) for loss in losses)
    json.dumps(lines[-1]["result"]["privacy"], allow_nan=False)


def test_only_rounds_that_a_hospital_trained_in_are_counted() -> None:
    share = {"hospitals": 4, "rounds": 6, "participation": 0.5}
    (claim,) = played(spec(trainer=DP_SGD, federation=share))[-1]["result"]["privacy"]
    steps = {one["hospital"]: one["steps"] for one in [claim, *claim["also"]]}
    assert sum(steps.values()) == 6 * 2 * 2


@pytest.mark.parametrize("trainer", [DP_SGD, {"name": "mixup", "steps": 2}])
def test_engines_agree_bit_by_bit(trainer: dict[str, Any]) -> None:
    rows = [
        played(spec(trainer=trainer), engine)[-1]["result"]["row"]
        for engine in ("serial", "threads")
    ]
    assert rows[0] == rows[1]


def test_without_a_promise_there_is_none_in_the_footer() -> None:
    assert "privacy" not in played(spec())[-1]["result"]


def test_a_promise_that_nobody_can_account_for_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(private, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError):
        played(spec(defenses=["dp-fedavg"]))


def test_a_network_with_batch_norm_is_refused_before_training() -> None:
    pytest.importorskip("monai")
    made = spec(dataset={"name": "phantom", "size": 32}, model="resnet18", trainer=DP_SGD)
    with pytest.raises(ConfigError, match="cannot protect this network"):
        played(made)


def test_secure_sums_carry_dp_fedavg_over_rounds() -> None:
    stack = ["secure-sum", {"name": "dp-fedavg", "noise_multiplier": 0.3}]
    how = {"hospitals": 6, "rounds": 4, "participation": 0.5, "sampling": "poisson"}
    footer = played(spec(defenses=stack, federation=how))[-1]["result"]
    assert footer["status"] == "success"
    (claim,) = footer["privacy"]
    assert (claim["trust"], claim["sampling"], claim["sample_rate"]) == ("central", "poisson", 0.5)
