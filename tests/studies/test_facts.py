"""Facts that a build must reproduce, on real chest X-rays with the quickstart's own settings."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest

import asepsis
from asepsis.experiments.plan import label_of, load_study
from asepsis.experiments.results import Group, Results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "ASEPSIS_DATA" not in os.environ,
        reason="needs real data: set ASEPSIS_DATA to a folder with pneumoniamnist.npz",
    ),
]

SEEDS = (0, 1, 2)
CHANCE = 0.5


@pytest.fixture(scope="module")
def study() -> Results:
    """Ten hospitals, three of them hostile: one sweep that all facts share."""
    scenario = load_study("quickstart").scenarios[0]
    left_out = {"seed", "attack", "defenses", "probes"}
    table = scenario.experiment.model_dump(mode="json", exclude=left_out)
    over: dict[str, list[Any]] = {
        "attack": [a for a in scenario.over["attack"] if label_of(a) != "label-flip"],
        "defenses": [[d] for [d] in scenario.over["defenses"] if label_of(d) != "trimmed-mean"],
    }
    return asepsis.sweep(table, over, seeds=SEEDS, jobs=2)


def group(study: Results, attack: str, defense: str) -> Group:
    [found] = [g for g in study.groups() if (g.attack, g.defense) == (attack, defense)]
    assert len(found.good) == len(SEEDS)
    return found


def tails(study: Results, attack: str, defense: str, metric: str) -> list[float]:
    """Return a metric's mean over the last five rounds, one value a seed."""
    return [run.tail(metric) for run, _ in group(study, attack, defense).good]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def test_the_setting_is_the_one_that_is_claimed(study: Results) -> None:
    spec = study.runs[0].cell.spec
    assert spec.federation.hospitals == 10
    assert spec.threat.hostile == 3
    assert spec.dataset == {"name": "pneumoniamnist"}
    assert spec.partition == {"name": "dirichlet", "alpha": 5.0}
    assert len(study.runs) == 3 * 2 * len(SEEDS)


def test_a_federation_learns_to_see_pneumonia(study: Results) -> None:
    assert mean(tails(study, "none", "mean", "accuracy")) >= 0.82


def test_inner_product_manipulation_takes_the_mean_to_chance(study: Results) -> None:
    clean = mean(tails(study, "none", "mean", "balanced_accuracy"))
    attacked = mean(tails(study, "ipm", "mean", "balanced_accuracy"))
    assert clean > 0.7, "nothing was there to lose"
    assert attacked <= CHANCE + 0.05


def test_multi_krum_recovers_four_fifths_of_the_loss(study: Results) -> None:
    clean = mean(tails(study, "none", "mean", "balanced_accuracy"))
    broken = mean(tails(study, "ipm", "mean", "balanced_accuracy"))
    defended = mean(tails(study, "ipm", "multi-krum", "balanced_accuracy"))
    assert defended - broken >= 0.8 * (clean - broken)


def test_multi_krum_was_really_active(study: Results) -> None:
    [proof] = group(study, "ipm", "multi-krum").activation()
    assert proof["active"] == len(SEEDS)


def test_a_patch_opens_a_backdoor_that_accuracy_does_not_show(study: Results) -> None:
    assert mean(tails(study, "badnets", "mean", "asr")) >= 0.9
    clean = mean(tails(study, "none", "mean", "accuracy"))
    attacked = mean(tails(study, "badnets", "mean", "accuracy"))
    assert abs(attacked - clean) <= 0.02


def test_the_backdoor_is_the_attack_and_not_the_mark(study: Results) -> None:
    """The clean twin's answers to the same marked images are far below."""
    found = group(study, "badnets", "mean")
    assert found.floor().mean <= 0.4
    assert found.excess().mean >= 0.8
