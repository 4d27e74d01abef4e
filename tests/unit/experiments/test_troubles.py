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


def test_who_did_not_answer_is_told_whatever_is_trained() -> None:
    plain = {k: v for k, v in round_(2).items() if k != "critic_loss"}
    rounds = [
        {**plain, "void": None, "lost": {"3": "no answer in 600 s"}},
        {**plain, "round": 3, "void": "2 of 6 hospitals answered", "lost": {"3": "x", "4": "y"}},
    ]
    assert troubles(rounds) == [
        {"what": "no answer", "hospital": 3, "rounds": [2, 3]},
        {"what": "no answer", "hospital": 4, "rounds": [3]},
        {"what": "too few answers", "hospital": None, "rounds": [3]},
    ]


def test_all_losses_being_large_is_no_hospital_diverging() -> None:
    assert troubles([round_(0, train_loss={"0": 4e3, "1": 5e3, "2": 6e3})]) == []


def test_most_hospitals_diverging_at_once_is_told_of_none_in_particular() -> None:
    rounds = [
        round_(0, train_loss={"0": 2e4, "1": -3e4, "2": 1.0}),
        round_(1, train_loss={"0": 2e4, "1": 2e4}),
        round_(2, train_loss={"0": 2e4}),
        round_(3, critic_loss={"0": -2e4, "1": -3e4, "2": -4e4}),
    ]
    assert troubles(rounds) == [{"what": "diverged", "hospital": None, "rounds": [0, 1, 2, 3]}]


def test_a_hospital_is_compared_with_the_others_of_which_there_may_be_one() -> None:
    rounds = [round_(0, train_loss={"0": 2.0, "1": 3e3}), round_(1, train_loss={"0": 2e3})]
    assert troubles(rounds) == [{"what": "diverged hospital", "hospital": 1, "rounds": [0]}]


def test_critics_diverge_by_an_absolute_bound_only() -> None:
    """A Wasserstein critic's loss is a distance, below zero and large; others' says nothing."""
    rounds = [
        round_(0, critic_loss={"0": 0.1, "1": -5e3, "2": 0.1}),
        round_(1, critic_loss={"0": 0.1, "1": -5e4, "2": 0.1}),
        round_(2, critic_loss={"0": 0.1, "1": 0.1, "2": math.nan}),
    ]
    assert troubles(rounds) == [
        {"what": "diverged hospital", "hospital": 1, "rounds": [1]},
        {"what": "loss is no number", "hospital": 2, "rounds": [2]},
    ]


def test_a_hospital_whose_two_losses_are_no_numbers_is_told_of_once_a_round() -> None:
    broken = {"0": math.nan, "1": 1.0, "2": 1.0}
    assert troubles([round_(0, train_loss=broken, critic_loss=broken)]) == [
        {"what": "loss is no number", "hospital": 0, "rounds": [0]}
    ]


def test_losses_of_classifiers_are_not_judged() -> None:
    line = round_(0, train_loss={"0": 1.0, "1": 1e9})
    del line["critic_loss"]
    assert troubles([line]) == []


def test_who_is_shut_out_to_the_end_is_blocked_since_then() -> None:
    honest = {str(client): 1.0 for client in (0, 1, 2, 4, 5)}
    rounds = [
        judged(0, {**honest, "3": 0.5}),
        judged(1, {**honest, "0": 0.0, "3": 0.005}),
        *[judged(number, {**honest, "3": 0.004}) for number in (2, 3, 4)],
        judged(5, {**honest, "3": 0.001}),
        judged(6, honest),
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
    shares = {"1": 0.0, **{str(client): 1.0 for client in range(2, 9)}}
    rounds = [judged(number, shares, "multi-krum") for number in range(4)]
    rounds.append(judged(4, {"1": 0.0}, "exclude"))
    assert [(one["stage"], one["round"]) for one in blocked(rounds, {})] == [
        ("exclude", 4),
        ("multi-krum", 0),
    ]


def selected(number: int, dropped: set[int]) -> dict[str, Any]:
    shares = {str(client): float(client not in dropped) for client in range(4)}
    return judged(number, shares, "multi-krum")


def who(rounds: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(one["hospital"], one["round"]) for one in blocked(rounds, {})]


def test_who_was_not_selected_in_the_last_rounds_is_not_blocked() -> None:
    """A rule that drops somebody in every round drops somebody in the last ones too."""
    rounds = [selected(number, {3, number % 3}) for number in range(12)]
    assert who(rounds) == [(3, 0)]
    unlucky = [selected(number, {3, 0 if number >= 8 else number % 3}) for number in range(12)]
    assert who(unlucky) == [(3, 0)]
    longer = [*unlucky, *(selected(number, {3, 0}) for number in range(12, 18))]
    assert who(longer) == [(0, 8), (3, 0)]  # half are dropped: 1 in 1,024 in ten rounds


def test_a_rule_that_drops_all_but_one_drops_most_for_long() -> None:
    """Krum takes one of four: five rounds without being it happen to everybody."""
    rounds = [selected(number, {0, 1, 2, 3} - {0}) for number in range(20)]
    assert who(rounds) == []
    longer = [selected(number, {0, 1, 2, 3} - {number % 3}) for number in range(30)]
    assert who(longer) == [(3, 0)]  # (3/4)^30 is 0.0002


def test_in_a_short_run_only_what_chance_cannot_do_is_a_block() -> None:
    rounds = [selected(number, {3, min(number, 2)}) for number in range(4)]
    assert who(rounds) == []
    by_name = [judged(number, {"0": 1.0, "3": 0.0}, "exclude") for number in range(2)]
    assert who(by_name) == [(3, 0)]


def test_a_hospital_that_is_seldom_drawn_is_not_blocked_by_one_round() -> None:
    rounds = [judged(number, {"0": 1.0, "1": 1.0}, "krum") for number in range(8)]
    assert who([*rounds, judged(8, {"0": 1.0, "2": 0.0}, "krum")]) == []
