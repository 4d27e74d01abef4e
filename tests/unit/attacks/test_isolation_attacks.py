"""Attackers of a secure sum: each isolates a hospital where it must, and only there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from isolation_bench import FULL_BATCH, SUM, Played, play

from asepsis.attacks.observe.sums import combination
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.testing.observers import check_observer

UNBOUND = {"name": "secure-aggregation", "bind_broadcast": False}
FIXED = {"name": "grouped-secure-sum", "regroup": False}
SHOWN = {**FIXED, "fewest": 1}


@pytest.mark.parametrize("model", ["mlp", "small-cnn", "lenet-sigmoid"])
def test_inconsistent_models_single_one_hospital_out_of_an_ideal_sum(model: str) -> None:
    [played] = play({"name": "model-inconsistency", "client": 2, "samples": 40}, model=model)
    assert played.evidence is not None
    assert played.evidence.about == 2
    assert played.scores["isolated"] == 1
    assert played.scores["relative_error"] < 1e-5
    assert played.scores["known"] > 0.99
    assert played.scores["rest_cosine"] == 0
    assert not played.moved


def test_of_an_unknown_count_the_direction_is_exact_and_the_length_is_not() -> None:
    [played] = play("model-inconsistency")
    assert played.scores["isolated_direction"] == 1
    # Hospital 0 has 20 samples, the mean hospital 40: its row looks half as long.
    assert played.scores["relative_error"] == pytest.approx(0.5, abs=1e-4)


def test_changing_cohorts_tell_the_count() -> None:
    attack = {"name": "model-inconsistency", "client": 0}
    last = [one for one in play(attack, rounds=8, participation=0.6) if one.evidence][-1]
    assert last.evidence is not None
    assert last.evidence.measurements["weight_known"] == 1
    assert last.evidence.measurements["weight"] == pytest.approx(20)
    assert last.scores["relative_error"] < 1e-4


def test_decay_does_not_give_a_silent_hospital_a_voice() -> None:
    trainer = {"name": "sgd", "lr": 0.1, "weight_decay": 0.1}
    [played] = play({"name": "model-inconsistency", "samples": 20}, trainer=trainer)
    assert played.scores["relative_error"] < 1e-5


def test_a_bound_broadcast_stops_inconsistent_models() -> None:
    attack = {"name": "model-inconsistency", "samples": 20}
    [bound] = play(attack, stack=("secure-aggregation", "mean"))
    assert bound.evidence is None
    assert "different models" in str(bound.outcome.void)
    assert not bound.moved
    [unbound] = play(attack, stack=(UNBOUND, "mean"))
    assert unbound.scores["isolated"] == 1


def test_a_single_layer_cannot_be_silenced() -> None:
    with pytest.raises(ConfigError, match="hidden layers"):
        play("model-inconsistency", model="logistic")


def test_without_colluders_a_server_has_the_mean_and_nobody() -> None:
    [played] = play("colluding-server")
    assert played.scores["isolated"] == 0
    assert played.evidence is not None
    assert played.evidence.about is None
    assert played.evidence.measurements == {"honest_left": 5, "colluders": 0}


@pytest.mark.parametrize("transport", ["secure-sum", "secure-aggregation", "grouped-secure-sum"])
def test_what_colluders_leave_nobody_to_hide_in_is_refused(transport: str) -> None:
    rule = "median" if "grouped" in transport else "mean"
    with pytest.raises(ConfigError, match=r"fewer than 3 honest .*fewest = 1"):
        play("colluding-server", colluders=(0, 1, 2), stack=(transport, rule))


@pytest.mark.parametrize("transport", ["secure-sum", "secure-aggregation"])
def test_three_honest_hospitals_are_enough(transport: str) -> None:
    [played] = play("colluding-server", colluders=(0, 1), stack=(transport, "mean"))
    assert played.scores["isolated"] == 0


def test_a_cohort_of_two_is_no_secure_sum() -> None:
    with pytest.raises(ConfigError, match="fewer than 3 honest"):
        play("cohort-difference", hospitals=2, stack=("secure-sum", "mean"))


def test_all_others_together_see_the_last_hospital() -> None:
    [played] = play("colluding-server", colluders=(0, 1, 2, 4))
    assert played.evidence is not None
    assert played.evidence.about == 3
    assert played.scores["isolated"] == 1
    assert played.scores["relative_error"] < 1e-3
    assert played.scores["cosine"] > played.scores["other_cosine"]


def test_fewer_colluders_see_the_mean_of_the_others() -> None:
    [played] = play("colluding-server", colluders=(0, 1, 2))
    assert played.evidence is not None
    assert played.evidence.clients == (3, 4)
    assert played.scores["relative_error"] < 1e-5
    assert played.scores["isolated"] == 0


def test_in_groups_two_colluders_are_enough() -> None:
    [played] = play("colluding-server", colluders=(1, 2), hospitals=9, stack=(SHOWN, "median"))
    assert played.evidence is not None
    assert played.evidence.about == 0
    assert played.scores["isolated"] == 1


def test_the_same_cohort_again_and_again_tells_nothing() -> None:
    assert all(one.evidence is None for one in play("cohort-difference", rounds=4))


def median_error(played: list[Played]) -> float:
    return float(np.median([one.scores["relative_error"] for one in played if one.scores]))


def test_cohorts_that_change_tell_more_the_less_the_updates_do() -> None:
    played = play(
        "cohort-difference", rounds=150, dropout=0.1, model="logistic", trainer=FULL_BATCH
    )
    assert median_error(played[:25]) > 0.3
    assert median_error(played[120:]) < 0.1


@pytest.mark.parametrize("transport", ["secure-sum", "secure-aggregation"])
def test_a_server_that_sends_one_model_again_need_not_wait(transport: str) -> None:
    attack = {"name": "cohort-difference", "replay": True}
    stack = (transport, "mean")
    played = play(attack, rounds=6, hospitals=6, dropout=0.15, trainer=FULL_BATCH, stack=stack)
    assert played[-1].scores["isolated"] == 1
    assert played[-1].scores["relative_error"] < 1e-3
    assert played[-1].scores["cosine"] > played[-1].scores["other_cosine"]


def test_batches_drawn_anew_blur_a_difference() -> None:
    attack = {"name": "cohort-difference", "replay": True}
    played = play(attack, rounds=6, dropout=0.3)
    assert median_error(played) > 0.3


@pytest.mark.parametrize("regroup", [True, False])
def test_groups_drawn_anew_can_be_solved_and_fixed_ones_cannot(regroup: bool) -> None:
    attack = {"name": "cohort-difference", "replay": True}
    stack = ({"name": "grouped-secure-sum", "regroup": regroup}, "median")
    played = play(attack, rounds=6, hospitals=9, trainer=FULL_BATCH, stack=stack)
    isolated = [one.scores["isolated"] for one in played if one.scores]
    assert bool(isolated) is regroup
    assert all(isolated)


def test_a_plain_channel_leaves_nothing_to_isolate() -> None:
    for attack in ("model-inconsistency", "cohort-difference", "colluding-server"):
        [played] = play(attack, stack=("mean",))
        assert played.scores["isolated"] == 1, attack


def test_a_combination_of_sums_is_one_hospital_or_nothing() -> None:
    sums = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    found = combination(sums, 1)
    assert found is not None
    assert (found @ sums.double()).tolist() == pytest.approx([0, 1, 0, 0])
    assert combination(sums, 3) is None
    assert combination(sums, 7) is None


@pytest.mark.parametrize("name", ["model-inconsistency", "cohort-difference", "colluding-server"])
def test_it_keeps_the_promises_of_an_observer(name: str) -> None:
    check_observer(build("attack", name))


def test_the_same_run_says_the_same() -> None:
    one, two = (play("model-inconsistency", stack=SUM)[0].scores for _ in range(2))
    assert one == two
