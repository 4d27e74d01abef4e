"""A monitor in a run: its scores are in the record, and the model never hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Line, rounds_of

TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "trainer": {"name": "sgd", "steps": 2, "batch_size": 16},
    "federation": {"hospitals": 6, "rounds": 3},
    "threat": {"hostile": 2},
    "attack": "sign-flip",
}


def record(defenses: list[Any], **changes: Any) -> list[Line]:
    spec: Experiment = parse(Experiment, {**TABLE, "defenses": defenses, **changes})
    return run_experiment(spec, None, RunOptions(engine="serial"))


STACKS: dict[str, list[Any]] = {
    "mean": ["mean"],
    "random": ["bucketing", "median", {"name": "gaussian-noise", "std": 0.01}],
}


@pytest.mark.parametrize("stack", STACKS.values(), ids=list(STACKS))
def test_the_model_is_bit_equal_with_and_without_a_monitor(stack: list[Any]) -> None:
    bare, watched = record(stack), record(["monitor", *stack])
    assert bare[-1]["result"]["row"] == watched[-1]["result"]["row"]
    assert bare[-1]["result"]["detection"].keys() == watched[-1]["result"]["detection"].keys()
    for one, other in zip(rounds_of(bare), rounds_of(watched), strict=True):
        assert one["result"]["metrics"] == other["result"]["metrics"]
        assert "monitors" not in one["result"]
        scores = other["result"]["monitors"]["norm"]
        assert list(scores) == [str(client) for client in other["result"]["present"]]
