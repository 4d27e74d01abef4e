"""Hostile hospitals say what the protocol asks of all: silence would stop it for everybody."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from asepsis.core.updates import Reply
from asepsis.experiments.resolve import resolve
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import rounds_of
from asepsis.federation.build import assemble
from asepsis.federation.hostile import report

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


def rounds(**changes: Any) -> list[dict[str, Any]]:
    made: Experiment = parse(Experiment, {**TABLE, **changes})
    lines = run_experiment(made, None, RunOptions(engine="serial"))
    return [line["result"] for line in rounds_of(lines)]


def test_the_record_has_the_loss_of_who_mimics_and_what_it_says_instead() -> None:
    threat = {"hostile": [4]}
    own = rounds(attack="label-flip", threat=threat)
    mimics = rounds(attack="label-flip", threat={**threat, "telemetry": "mimic"})
    for lies, says in zip(mimics, own, strict=True):
        assert lies["train_loss"] == says["train_loss"]
        honest = [lies["train_loss"][client] for client in "0123"]
        assert lies["told_loss"] == {"4": pytest.approx(sum(honest) / 4)}
        assert "told_loss" not in says


def test_the_record_has_the_losses_of_who_is_silent() -> None:
    for line in rounds(defenses=[CLIPPED]):
        assert all(math.isfinite(loss) for loss in line["train_loss"].values())
        assert list(line["told_loss"]) == list(line["train_loss"])
        assert all(math.isnan(loss) for loss in line["told_loss"].values())


def replies(*sides: dict[str, float]) -> list[Reply]:
    return [Reply(client, torch.zeros(1), 1.0, side) for client, side in enumerate(sides)]


def mimicked(*sides: dict[str, float]) -> dict[str, float]:
    """Return what a last, hostile hospital says."""
    made: Experiment = parse(Experiment, {**TABLE, "threat": {"telemetry": "mimic"}})
    federation, _ = assemble(resolve(made)[0])
    told = report(federation, replies(*sides), (len(sides) - 1,))
    assert [reply.side for reply in told[:-1]] == list(sides[:-1])
    return dict(told[-1].side)


def test_who_mimics_leaves_out_what_is_no_number() -> None:
    good, broken = {"loss": 1.0, "critic_loss": math.nan}, {"loss": math.nan, "critic_loss": 2.0}
    own = {"loss": 9.0, "critic_loss": 8.0}
    assert mimicked(good, {"loss": 3.0, "critic_loss": 4.0}, broken, own) == {
        "loss": 2.0,
        "critic_loss": 3.0,
    }
    assert mimicked(good, good, own) == {"loss": 1.0, "critic_loss": 8.0}
