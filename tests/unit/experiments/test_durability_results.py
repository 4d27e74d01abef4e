from __future__ import annotations

import math

import pytest
from durable_study import FLOOR, STRONG, durable, fading, made_of, spec_of
from scipy import stats

from asepsis.experiments.durability import (
    Durability,
    aftermath,
    durabilities,
    leaves,
    paired_rise,
)
from asepsis.experiments.results import Results, excess_of


def followed(results: Results) -> dict[str, Durability]:
    found = durabilities(results.groups())
    return {group.attack: item for group, item in found.items()}


def test_lifespans_are_those_one_counts() -> None:
    found = followed(durable())
    lives = [str(life) for life in found["badnets"].lives()]
    assert lives == ["6", ">8", "8"]
    assert [str(life) for life in found["badnets (share=0.9)"].lives()] == ["2", "3", "1"]
    assert found["badnets"].horizon == 8


def test_departure_is_the_last_attacked_round_and_its_excess_is_over_the_twin() -> None:
    group = next(group for group in durable().groups() if group.backdoor)
    run, twin = group.good[0]
    after = aftermath(run, twin)
    assert after is not None
    assert after.round == 4
    assert after.asr[0] == pytest.approx(1.0)
    assert after.excess[6] == pytest.approx(0.1)
    assert after.asr[6] == pytest.approx(FLOOR + 0.1 * (1 - FLOOR))


def test_the_restricted_mean_has_an_interval_over_seeds() -> None:
    found = followed(durable())["badnets"].metric("lifespan")
    half = stats.t.ppf(0.975, 2) * stats.tstd([6, 8, 8]) / math.sqrt(3)
    assert found.mean == pytest.approx(22 / 3)
    assert found.high - found.mean == pytest.approx(half)


def test_attacks_are_compared_seed_by_seed() -> None:
    found = followed(durable())
    gap = found["badnets"].minus(found["badnets (share=0.9)"], "lifespan")
    assert gap.mean == pytest.approx((4 + 5 + 7) / 3)
    assert gap.low > 0
    assert gap.n == 3


def test_the_area_reaches_to_the_horizon_of_all() -> None:
    # 1 up to round 5, then down to 0.1 in a round, then 0.1 for two rounds.
    found = followed(durable())["badnets"].values("area")
    assert found[0] == pytest.approx(5 + 0.55 + 2 * 0.1)
    assert found[1] == pytest.approx(8)


def test_an_attacker_who_stays_leaves_nothing_to_follow() -> None:
    spec = spec_of(STRONG, "mean", 0)
    stays = spec.model_copy(update={"threat": spec.threat.model_copy(update={"rounds": None})})
    late = spec.model_copy(update={"threat": spec.threat.model_copy(update={"starts_at": 10})})
    assert leaves(spec)
    assert not leaves(stays)
    assert not leaves(late)  # rounds 10 to 12 of 13: attacked to the end
    assert not leaves(spec_of(None, "mean", 0))


def test_a_trigger_that_changes_brings_its_own_floor() -> None:
    runs, study = made_of({"badnets": (STRONG, "mean", [fading(6)])})
    for line in runs[-1].lines[1:-1]:
        line["result"]["metrics"]["floor"] = 0.5
    runs[-1].lines[-1]["result"]["last"]["floor"] = 0.5
    runs[-1].lines[-1]["result"]["tail"]["floor"] = 0.5
    group = next(group for group in Results(study, runs).groups() if group.backdoor)
    assert group.floor().mean == 0.5
    after = aftermath(*group.good[0])
    assert after is not None
    assert after.excess[6] == pytest.approx((0.28 - 0.5) / 0.5)


def test_a_backdoor_nobody_scored_has_no_lifespan() -> None:
    runs, study = made_of({"badnets": (STRONG, "mean", [[1.0] + [math.nan] * 8, fading(6)])})
    found = durabilities(Results(study, runs).groups())
    [item] = found.values()
    assert [str(life) for life in item.lives()] == [">0", "6"]
    assert item.horizon == 0  # nobody knows what happened to the first


def test_a_floor_of_one_at_departure_leaves_the_departure_unknown() -> None:
    runs, study = made_of({"badnets": (STRONG, "mean", [fading(6)] * 3)})
    floor = next(name for name in runs[1].rounds[4]["metrics"] if name.startswith("floor/"))
    runs[1].rounds[4]["metrics"] = runs[1].rounds[4]["metrics"] | {floor: 1.0}
    for number in (10, 11, 12):
        runs[2].rounds[number]["metrics"] = runs[2].rounds[number]["metrics"] | {floor: 1.0}
    [item] = durabilities(Results(study, runs).groups()).values()
    assert item.metric("asr_at_departure").n == 3
    assert item.metric("excess_at_departure").n == 2
    assert item.metric("area").n == 1
    assert item.horizon == 8
    assert list(item.values("lifespan").values()) == pytest.approx([6, 6, math.nan], nan_ok=True)
    assert item.lost == [2]


def test_a_floor_that_leaves_few_samples_leaves_nothing_to_measure() -> None:
    runs, _ = made_of({"badnets": (STRONG, "mean", [fading(6)])})
    assert excess_of(runs[-1], 1.0, 0.5) == 1.0  # 12 of the 24 test samples are left
    assert math.isnan(excess_of(runs[-1], 1.0, 0.6))


def test_of_a_generator_the_images_that_were_compared_are_counted() -> None:
    runs, _ = made_of({"badnets": (STRONG, "mean", [fading(6)])})
    runs[-1].footer["generator"] = {"images": 18}
    assert math.isnan(excess_of(runs[-1], 1.0, 0.5))  # 9 of 18
    assert excess_of(runs[-1], 1.0, 0.4) == 1.0  # 10.8


def test_the_paired_figure_is_that_of_the_departure() -> None:
    runs, study = made_of({"badnets": (STRONG, "mean", [fading(6)] * 3)})
    floor = next(name for name in runs[0].rounds[4]["metrics"] if name.startswith("floor/"))
    clean = floor.replace("floor/", "floor:paired_auroc/")
    for run in runs:
        name = clean if run.cell.attack == "none" else "backdoor/paired_auroc"
        for item in run.rounds:
            early = 0.3 if run.cell.attack == "none" else 0.9
            item["metrics"] = item["metrics"] | {name: early if item["round"] == 4 else 0.5}
    group = next(group for group in Results(study, runs).groups() if group.backdoor)
    assert paired_rise(group).mean == pytest.approx(0.6)


def test_groups_without_a_backdoor_are_left_out() -> None:
    groups = [group for group in durable().groups() if not group.backdoor]
    assert groups
    assert durabilities(groups) == {}


def test_one_row_a_run_holds_the_backdoors_own_figures_and_no_probes() -> None:
    results = durable()
    results.runs[-1].lines[-1]["result"]["tail"]["backdoor/paired_auroc"] = 0.9
    frame = results.frame()
    assert frame["backdoor/paired_auroc"].iloc[-1] == 0.9
    assert not [name for name in frame.columns if name.startswith("floor/")]
