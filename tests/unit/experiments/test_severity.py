"""Severity: what a run lost, in the terms of its goal, worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from asepsis.experiments.plan import Cell, probe_name
from asepsis.experiments.results import Group, Run
from asepsis.experiments.severity import CUTOFFS, LEVELS, harm, level, severity
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.threats import Goal

PATCH = {"name": "badnets", "target": 0}


def run(tail: dict[str, float] | None = None, **about: Any) -> Run:
    spec: Experiment = parse(Experiment, {"attack": about.get("attack")})
    resolved = {
        "primary": about.get("primary", "balanced_accuracy"),
        "samples": [[40, 5, 100]],
        "observe": [{"name": name} for name in about.get("observe", ())],
        "role": about.get("role", "client"),
    }
    footer = {
        "status": about.get("status", "success"),
        "tail": tail or {},
        "evidence": about.get("evidence", []),
    }
    lines: list[Any] = [
        {"type": "header", "result": {"resolved": resolved}},
        {"type": "round", "result": {"round": 0, "hostile": [0], "void": None}},
        {"type": "footer", "result": footer},
    ]
    return Run(Cell("s", "x", "mean", about.get("seed", 0), spec), lines)


def leak(kind: str, scores: dict[str, float], by: str = "eve") -> float:
    evidence = [{"by": by, "round": 0, "kind": kind, "scores": scores}]
    one = run(evidence=evidence, observe=[by])
    return harm(one, one, Goal.CONFIDENTIALITY, by)


@pytest.mark.parametrize(
    ("primary", "attacked", "clean", "lost"),
    [
        ("balanced_accuracy", 0.6, 0.85, 0.25),
        ("balanced_accuracy", 0.9, 0.85, -0.05),
        ("ssim", 0.5, 0.9, 0.4),
        ("mae", 0.15, 0.1, 0.5),
        ("kernel_distance", 9.0, 1.0, 1.0),
        ("psnr", 15.0, 30.0, 0.5),
    ],
)
def test_availability_is_the_loss_of_the_primary_figure(
    primary: str, attacked: float, clean: float, lost: float
) -> None:
    pair = run({primary: attacked}, primary=primary), run({primary: clean}, primary=primary)
    assert harm(*pair, Goal.AVAILABILITY) == pytest.approx(lost)


def test_a_distance_is_judged_beside_its_floor() -> None:
    name = "kernel_distance"
    pair = run({name: 0.3}, primary=name), run({name: 0.1, "kernel_floor": 0.4}, primary=name)
    assert harm(*pair, Goal.AVAILABILITY) == pytest.approx(0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_blew_up_under_attack_lost_everything(value: float) -> None:
    attacked = run({"mae": value}, primary="mae", status="diverged")
    clean = run({"mae": 0.1}, primary="mae")
    assert harm(attacked, clean, Goal.AVAILABILITY) == 1.0
    assert math.isnan(harm(attacked, run({"mae": math.nan}, primary="mae"), Goal.AVAILABILITY))
    unknown = run({"mae": math.nan}, primary="mae")
    assert math.isnan(harm(unknown, clean, Goal.AVAILABILITY))


@pytest.mark.parametrize("primary", ["balanced_accuracy", "macro_auroc", "mae", "ssim", "psnr"])
def test_what_was_not_measured_is_never_called_none(primary: str) -> None:
    unknown, clean = run({}, primary=primary), run({primary: 0.5}, primary=primary)
    for pair in ((unknown, clean), (clean, unknown)):
        assert level(Goal.AVAILABILITY, harm(*pair, Goal.AVAILABILITY)) == "not estimable"


def test_integrity_is_the_excess_over_the_twins_floor() -> None:
    attacked = run({"asr": 0.8}, attack=PATCH)
    twin = run({f"floor/{probe_name(PATCH)}": 0.2})
    assert harm(attacked, twin, Goal.INTEGRITY) == pytest.approx(0.75)
    assert math.isnan(harm(run({"balanced_accuracy": 0.1}), twin, Goal.INTEGRITY))


@pytest.mark.parametrize(
    ("kind", "scores", "share"),
    [
        ("membership", {"held-out/excess": 0.1, "held-out/auc": 0.9}, 0.2),
        ("membership", {"held-out/excess": math.nan, "federation/excess": 0.05}, 0.1),
        (
            "membership",
            {"held-out/excess": 0.4, "held-out/members": 10, "federation/excess": 0.1},
            0.8,
        ),
        (
            "membership",
            {"held-out/excess": 0.4, "held-out/members": 9, "federation/excess": 0.1},
            0.2,
        ),
        ("membership", {"held-out/excess": 0.4, "held-out/members": 9}, math.nan),
        ("inversion", {"success": 0.9, "excess/success": 0.3}, 0.3),
        ("inversion", {"success": 0.9}, math.nan),
        ("property", {"error": 0.1, "baseline_error": 0.4}, 0.75),
        ("property", {"error": 0.1, "baseline_error": 0.4, "prior_error": 0.2}, 0.5),
        ("property", {"error": 0.1, "baseline_error": 0.0}, math.nan),
        ("labels", {"count_error": 3.0, "prior_count_error": 2.0}, -0.5),
        ("labels", {"count_error": 9.0, "prior_count_error": 1.0}, -1.0),
        ("attribute", {"leakage": 0.07, "excess/members": 0.3}, 0.07),
        ("classes", {"recognized": 0.9, "prior_recognized": 0.5}, 0.4),
        ("isolation", {"isolated": 0.5}, 0.5),
        ("of another world", {"auc": 1.0}, math.nan),
    ],
)
def test_confidentiality_is_what_exceeds_the_uninformed_guess(
    kind: str, scores: dict[str, float], share: float
) -> None:
    assert leak(kind, scores) == pytest.approx(share, nan_ok=True)


def test_who_watched_and_claimed_nothing_learned_nothing_and_who_did_not_watch_is_unknown() -> None:
    one = run(observe=["eve"])
    assert harm(one, one, Goal.CONFIDENTIALITY, "eve") == 0.0
    assert math.isnan(harm(one, one, Goal.CONFIDENTIALITY, "mallory"))
    assert math.isnan(harm(one, one, Goal.CONFIDENTIALITY))


def test_without_a_name_it_is_the_runs_own_attack() -> None:
    evidence = [{"by": "attack", "round": 0, "kind": "isolation", "scores": {"isolated": 1.0}}]
    one = run(evidence=evidence, attack={"name": "dlg"}, role="server")
    assert harm(one, run(), Goal.CONFIDENTIALITY) == 1.0


@pytest.mark.parametrize("goal", Goal)
def test_levels_begin_at_their_cut_offs(goal: Goal) -> None:
    cuts = CUTOFFS[goal]
    assert list(cuts) == sorted(cuts)
    assert [level(goal, cut) for cut in cuts] == list(LEVELS[1:])
    assert [level(goal, cut - 0.001) for cut in cuts] == list(LEVELS[:-1])
    assert level(goal, -1.0) == "none"
    assert level(goal, math.nan) == "not estimable"


def test_a_cut_off_is_not_missed_by_rounding() -> None:
    assert 0.85 - 0.8 < 0.05
    assert level(Goal.AVAILABILITY, 0.85 - 0.8) == "low"


def group(*losses: float) -> Group:
    runs = [run({"balanced_accuracy": 0.9 - lost}, attack=PATCH) for lost in losses]
    twins = [run({"balanced_accuracy": 0.9}) for _ in losses]
    return Group("s", "x", "mean", (), runs, twins)


def test_over_seeds_it_is_a_paired_t_interval() -> None:
    found = severity(group(0.1, 0.2, 0.3), Goal.AVAILABILITY)
    half = 4.302652729911275 * 0.1 / 3**0.5  # t(0.975, 2) times the standard error
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half))


def test_one_seed_has_no_interval() -> None:
    found = severity(group(0.2), Goal.AVAILABILITY)
    assert found.mean == pytest.approx(0.2)
    assert math.isnan(found.low)
    assert math.isnan(found.p)
