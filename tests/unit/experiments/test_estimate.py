from __future__ import annotations

import time
from typing import Any

import pytest

from asepsis.experiments import estimate as estimates
from asepsis.experiments.estimate import Estimate, Pace, duration, estimate
from asepsis.experiments.plan import Cell, Plan, plan_study, study_from
from asepsis.experiments.run import RunOptions
from asepsis.experiments.spec import Experiment, parse
from asepsis.federation.federation import Federation
from asepsis.federation.generating import detector, downstream, extractor, kept

TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "model": "mlp",
    "trainer": {"name": "sgd", "steps": 1},
    "federation": {"hospitals": 4, "rounds": 6},
    "threat": {"hostile": 2, "starts_at": 2, "rounds": 3},
    "over": {"attack": ["label-flip", "ipm"], "defenses": [["mean"], ["median"]]},
    "seeds": [0, 1],
}


def plan_of(**changes: Any) -> Plan:
    return plan_study(study_from({**TABLE, **changes}, "x"))


def cell_of(**changes: Any) -> Cell:
    spec: Experiment = parse(Experiment, {"federation": {"rounds": 100}, **changes})
    return Cell("x", "ipm", "mean", 0, spec)


def test_a_run_is_its_rounds_by_kind() -> None:
    pace = Pace(setup=5.0, honest=1.0, attacked=3.0, scoring=0.5, hostile=10)
    assert pace.seconds(cell_of()) == 5 + 90 * 1 + 10 * 3 + 100 * 0.5
    assert pace.seconds(cell_of(), shared=40) == 5 + 50 * 1 + 10 * 3 + 60 * 0.5
    rare = cell_of(evaluation={"every": 10})
    assert pace.seconds(rare) == 5 + 90 * 1 + 10 * 3 + 10 * 0.5


def test_runs_share_jobs_and_the_rounds_before_the_attack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimates, "_pace", lambda *_: Pace(0.0, 1.0, 2.0, 0.0, 3))
    # Four groups (two rules, two seeds): a twin and two attacks, 9 seconds, then 7 without prefix.
    found = estimate(plan_of(), RunOptions(jobs=1))
    assert found == Estimate(seconds=4 * (9 + 7 + 7), runs=12, rounds=72, jobs=1, reused=16)
    assert estimate(plan_of(), RunOptions(jobs=2)).seconds == 2 * 23
    assert estimate(plan_of(), RunOptions(jobs=64)).seconds == 23  # the longest piece of work


def test_every_experiment_is_timed_once_and_really(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = []
    real = estimates._pace

    def watched(cell: Cell, how: RunOptions) -> Pace | None:
        pace = real(cell, how)
        kinds.append((cell.attack, pace))
        return pace

    monkeypatch.setattr(estimates, "_pace", watched)
    found = estimate(plan_of(), RunOptions(engine="serial"))
    assert sorted(name for name, _ in kinds) == ["ipm", "label-flip", "none"]
    hostile = {name: pace.hostile for name, pace in kinds if pace}
    assert hostile == {"none": 0, "ipm": 3, "label-flip": 3}
    assert found.seconds > 0
    assert all(pace.honest > 0 and pace.scoring > 0 for _, pace in kinds if pace)


def test_who_judges_images_is_trained_once_a_seed_in_every_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clock that stands still, but for 100 seconds whenever an extractor is trained."""
    now, real = [0.0], extractor.trained_extractor

    def slow(*given: Any) -> Any:
        now[0] += 100.0
        return real(*given)

    for module in (extractor, detector, downstream):
        monkeypatch.setattr(module, "STEPS", 5)
    monkeypatch.setattr(kept, "trained_extractor", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    images = {
        "dataset": {"name": "phantom", "n": 204, "size": 16},
        "partition": "iid",
        "task": "generation",
        "model": {"name": "dcgan", "width": 4, "critic_width": 4, "z_dim": 4},
        "trainer": {"name": "gan", "steps": 1, "batch_size": 4},
        "over": {"attack": ["trigger-images", "sign-flip"], "defenses": [["mean"], ["median"]]},
    }
    plan = plan_of(**images)
    paces = estimates._paces(plan.cells, RunOptions(engine="serial"))
    assert [(pace.judges, pace.setup) for pace in paces.values() if pace] == [
        (100.0, 0.0),
        (0.0, 0.0),
        (0.0, 0.0),
    ]
    monkeypatch.setattr(estimates, "_paces", lambda *_: paces)
    assert estimate(plan, RunOptions(jobs=1)).seconds == 2 * 100
    assert estimate(plan, RunOptions(jobs=2)).seconds == 4 * 100 / 2  # two groups, two seeds


def test_what_cannot_be_timed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(estimates, "play_round", broken)
    found = estimate(plan_of(seeds=[0]), RunOptions(engine="serial"))
    assert found.untimed == 6
    assert str(found).endswith("6 runs could not be timed")


def test_an_estimate_is_a_sentence() -> None:
    text = str(Estimate(12000.0, 96, 9600, 2))
    assert text == "about 3 h 20 min on this machine with 2 jobs (96 runs, 9,600 rounds)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (5300, "88 min"), (7199, "2 h"), (172800, "2 d")],
)
def test_times_are_rounded_to_what_is_known(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_rounds_in_which_somebody_looks_are_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(federation: Federation, *_: object) -> tuple[float, None]:
        return (11.0 if federation.observers else 1.0), None

    monkeypatch.setattr(estimates, "_round", timed)
    looks = [{"name": "loss-mia", "when": {"every": 5}}]  # in rounds 0 and 5 of six
    plan = plan_of(seeds=[0], over={"attack": ["none"]}, observe=looks)
    found = estimate(plan, RunOptions(engine="serial"))
    assert found.seconds == pytest.approx(6 * 1.0 + 2 * 10.0, abs=1)


def test_the_rounds_that_are_reused_are_told() -> None:
    text = str(Estimate(12000.0, 96, 9600, 2, reused=840))
    assert text.endswith("(96 runs, 9,600 rounds, 840 of them reused)")
