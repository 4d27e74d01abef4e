"""What went wrong, and who was shut out, as rounds tell it."""

from __future__ import annotations

import math
from typing import Any

from asepsis.experiments.troubles import blocked, troubles


def round_(number: int, **changes: Any) -> dict[str, Any]:
    line: dict[str, Any] = {
        "round": number,
        "metrics": {},
        "dropped": [],
        "train_loss": {"0": 1.0, "1": 1.1, "2": 0.9},
        "critic_loss": {"0": 1.0, "1": 1.0, "2": 1.0},
        "stages": [],
    }
    return {**line, **changes}


def judged(number: int, shares: dict[str, float], name: str = "feddetect") -> dict[str, Any]:
    return round_(number, stages=[{"name": name, "verdicts": shares}])


def test_nothing_is_told_of_rounds_in_which_nothing_went_wrong() -> None:
    assert troubles([round_(0), round_(1)]) == []


def test_collapse_nan_divergence_and_a_fresh_start_are_told_with_their_rounds() -> None:
    rounds = [
        round_(0, metrics={"collapsed": 1.0}),
        round_(1, train_loss={"0": math.nan, "1": 1.0, "2": 1.0}, dropped=[0], afresh=[0]),
        round_(2, train_loss={"0": 1.0, "1": -5000.0, "2": 1.0}, metrics={"collapsed": 1.0}),
        round_(3, train_loss={"0": 1.0, "1": math.inf, "2": 1.0}, metrics={"collapsed": 0.0}),
    ]
    assert troubles(rounds) == [
        {"what": "mode collapse", "hospital": None, "rounds": [0, 2]},
        {"what": "update is no number", "hospital": 0, "rounds": [1]},
        {"what": "began afresh", "hospital": 0, "rounds": [1]},
        {"what": "loss is no number", "hospital": 0, "rounds": [1]},
        {"what": "diverged hospital", "hospital": 1, "rounds": [2]},
        {"what": "loss is no number", "hospital": 1, "rounds": [3]},
    ]


def test_all_losses_being_large_is_no_hospital_diverging() -> None:
    assert troubles([round_(0, train_loss={"0": 4e3, "1": 5e3, "2": 6e3})]) == []


def test_losses_of_classifiers_are_not_judged() -> None:
    line = round_(0, train_loss={"0": 1.0, "1": 1e9})
    del line["critic_loss"]
    assert troubles([line]) == []


def test_who_is_shut_out_to_the_end_is_blocked_since_then() -> None:
    rounds = [
        judged(0, {"0": 1.0, "3": 0.5}),
        judged(1, {"0": 0.0, "3": 0.005}),
        judged(2, {"0": 1.0, "3": 0.001}),
        judged(3, {"0": 1.0}),
    ]
    assert blocked(rounds, {"feddetect": "its reported loss stood out"}) == [
        {
            "stage": "feddetect",
            "hospital": 3,
            "round": 1,
            "share": 0.001,
            "reason": "its reported loss stood out",
        }
    ]


def test_stages_block_each_for_itself() -> None:
    rounds = [judged(0, {"1": 0.0}, "krum"), judged(1, {"1": 0.0}, "exclude")]
    assert [(one["stage"], one["round"]) for one in blocked(rounds, {})] == [
        ("exclude", 1),
        ("krum", 0),
    ]
