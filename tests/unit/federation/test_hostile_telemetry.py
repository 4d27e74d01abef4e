"""Hostile hospitals say what the protocol asks of all: silence would stop it for everybody."""

from __future__ import annotations

from typing import Any

import pytest

from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import rounds_of

TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "partition": "iid",
    "trainer": {"name": "sgd", "steps": 2, "batch_size": 16},
    "federation": {"hospitals": 5, "rounds": 3},
}
CLIPPED = {"name": "dp-fedavg", "noise_multiplier": 0.0, "bound": 10.0}
FALL = pytest.approx([10 * 2.718281828 ** (-0.1 * t) for t in (1, 2, 3)], rel=1e-6)
"""All five within the bound: it falls by exp(-0.2 (1 - 0.5)) a round."""


def bounds(**changes: Any) -> list[float]:
    made: Experiment = parse(Experiment, {**TABLE, "defenses": ["secure-sum", CLIPPED], **changes})
    lines = run_experiment(made, None, RunOptions(engine="serial"))
    return [
        float(stage["measurements"]["next_bound"])
        for line in rounds_of(lines)
        for stage in line["result"]["stages"]
        if stage["name"] == "dp-mean"
    ]


def against(attack: Any, **threat: Any) -> list[float]:
    return bounds(attack=attack, threat={"hostile": [0], **threat})


def test_one_liar_does_not_freeze_the_bound_behind_a_sum() -> None:
    assert bounds() == FALL
    for attack in ("sign-flip", "label-flip", "neurotoxin"):
        assert against(attack) == FALL, attack


FAR = {"name": "sign-flip", "scale": 1e6}


def test_who_reports_its_own_says_what_holds_of_the_row_it_sends() -> None:
    """Four of five within: the bound falls by exp(-0.2 (0.8 - 0.5))."""
    assert against(FAR)[0] == pytest.approx(10 * 2.718281828**-0.06)
    assert against(FAR, attested=True)[0] == pytest.approx(10 * 2.718281828**-0.06)


def test_who_mimics_says_what_honest_hospitals_say_on_average() -> None:
    assert against(FAR, telemetry="mimic")[0] == pytest.approx(10 * 2.718281828**-0.1)


def test_it_is_said_where_everybody_is_hostile_in_a_round_too() -> None:
    few = {"hospitals": 5, "rounds": 3, "participation": 0.6}
    found = bounds(federation=few, attack="sign-flip", threat={"hostile": [0, 1, 2, 3]})
    assert found == FALL
