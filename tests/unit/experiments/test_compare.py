"""Two results side by side: paired where the protocol is the same, refused where it is not."""

from __future__ import annotations

import math
from typing import Any

import pytest
from report_study import JITTER, make
from scipy import stats

from asepsis.core.errors import ConfigError
from asepsis.experiments.compare import Side, Verdict, compare, differing
from asepsis.experiments.results import Results
from asepsis.metrics.intervals import holm


def whole(results: Results, name: str = "folder") -> Side:
    return Side(name, results, results.groups(), chosen=False)


def cell(results: Results, attack: str, defense: str) -> Side:
    found = [g for g in results.groups() if (g.attack, g.defense) == (attack, defense)]
    return Side("cell", results, found, chosen=True)


def resolve_otherwise(results: Results, **changes: Any) -> Results:
    for run in results.runs:
        run.resolved.update(changes)
    return results


def test_gaps_are_b_minus_a_of_the_same_seed() -> None:
    found = compare(whole(make(mean_drop=0.1)), whole(make(mean_drop=0.3)))
    (fell,) = [d for d in found.differences if d.cell == "label-flip / mean"]
    assert fell.gap.mean == pytest.approx(-0.2)
    assert fell.first.mean == pytest.approx(0.75)
    assert fell.second.mean == pytest.approx(0.55)
    assert fell.seeds == (0, 1, 2)
    assert fell.verdict is Verdict.LOWER


def test_the_interval_is_that_of_the_gaps_and_not_of_the_means() -> None:
    one, other = make(mean_drop=0.1), make(mean_drop=0.1)
    gaps = (0.0, 0.02, 0.04)
    for run in other.runs:
        if (run.cell.attack, run.cell.defense) == ("label-flip", "mean"):
            run.footer["tail"]["balanced_accuracy"] += gaps[run.cell.seed]
    (found,) = [
        d for d in compare(whole(one), whole(other)).differences if d.cell == "label-flip / mean"
    ]
    half = stats.t.ppf(0.975, 2) * 0.02 / math.sqrt(3)
    assert found.gap.low == pytest.approx(0.02 - half)
    assert found.gap.high == pytest.approx(0.02 + half)
    assert found.verdict is Verdict.UNCLEAR


def test_the_same_results_are_alike_with_enough_seeds_and_unclear_with_two() -> None:
    many = compare(whole(make(seeds=tuple(range(5)))), whole(make(seeds=tuple(range(5)))))
    assert {item.verdict for item in many.differences} == {Verdict.ALIKE}
    few = compare(whole(make(seeds=(0, 1))), whole(make(seeds=(0, 1))))
    assert {item.verdict for item in few.differences} == {Verdict.UNCLEAR}


def test_holms_correction_is_over_the_whole_table() -> None:
    found = compare(whole(make(mean_drop=0.1)), whole(make(mean_drop=0.13))).differences
    raw = [item.gap.p for item in found]
    assert [item.p for item in found] == pytest.approx(holm(raw).tolist(), nan_ok=True)
    assert len(found) == 8  # 2 rules: no attack, a flip, a backdoor with its excess besides


def test_another_protocol_is_refused_and_the_difference_told() -> None:
    other = resolve_otherwise(make(), protocol="other", data="d1d1")
    for run in other.runs:
        run.resolved["components"]["model"] = {"name": "mlp"}
    found = compare(whole(make()), whole(other))
    assert not found.possible
    assert len(found.refused) == 6
    told = {(u.place, u.first, u.second) for u in found.refused[0].unlike}
    assert ("model.name", "small-cnn", "mlp") in told
    assert ("hash of the data", "d0d0", "d1d1") in told


def test_one_seed_of_another_protocol_refuses_the_cell() -> None:
    other = make()
    for run in other.runs:
        if run.cell.seed == 2 and run.cell.defense == "mean":
            run.resolved["protocol"] = "other"
    found = compare(whole(make()), whole(other))
    assert {item.cell for item in found.refused} == {
        "none / mean",
        "label-flip / mean",
        "badnets / mean",
    }
    assert {item.cell.rpartition(" / ")[2] for item in found.differences} == {"multi-krum"}


def test_no_seed_in_common_is_no_comparison() -> None:
    found = compare(whole(make(seeds=(0, 1, 2))), whole(make(seeds=(3, 4, 5))))
    assert not found.possible
    assert "no seed in common" in found.refused[0].reason


def test_only_seeds_that_both_have_are_paired() -> None:
    found = compare(whole(make(seeds=(0, 1, 2, 3))), whole(make(seeds=(2, 3, 4, 5))))
    assert {item.seeds for item in found.differences} == {(2, 3)}


def test_what_only_one_has_is_said() -> None:
    found = compare(whole(make(rules=("mean", "median"))), whole(make(rules=("mean", "krum"))))
    assert found.only_first == [
        f"chest X-rays: {attack} / median" for attack in ("none", "label-flip", "badnets")
    ]
    assert [name.rpartition(" / ")[2] for name in found.only_second] == ["krum"] * 3


def test_two_chosen_cells_are_paired_whatever_their_names() -> None:
    results = make(mean_drop=0.3)
    found = compare(
        cell(results, "label-flip", "mean"), cell(results, "label-flip", "multi-krum")
    ).differences
    (gap,) = found
    assert gap.gap.mean == pytest.approx(0.3)
    assert gap.verdict is Verdict.HIGHER
    assert ("defenses[0].name", "mean", "multi-krum") in {
        (u.place, u.first, u.second) for u in gap.unlike
    }


def test_attacks_with_another_share_are_not_ranked() -> None:
    def made(share: float) -> Results:
        results = make()
        for run in results.runs:
            if run.cell.attack == "badnets":
                run.resolved["components"]["attack"] = {"name": "badnets", "share": share}
        return results

    found = compare(whole(made(0.5)), whole(made(0.2)))
    assert {item.cell for item in found.refused} == {"badnets / mean", "badnets / multi-krum"}
    assert [(u.place, u.first, u.second) for u in found.refused[0].unlike] == [
        ("attack.share", "0.5", "0.2")
    ]


def test_an_untrained_side_supports_no_verdict_and_costs_no_correction() -> None:
    other = make()
    for run in other.runs:
        if run.cell.attack == "none" and run.cell.defense == "mean":
            run.footer["tail"]["balanced_accuracy"] = 0.5
    found = compare(whole(make()), whole(other)).differences
    untrained = [item for item in found if item.verdict is Verdict.UNTRAINED]
    assert {item.cell.rpartition(" / ")[2] for item in untrained} == {"mean"}
    assert all(math.isnan(item.p) for item in untrained)


def test_another_figure_can_be_asked_for() -> None:
    found = compare(whole(make()), whole(make()), ["utility change"]).differences
    (mean,) = [item for item in found if item.cell == "label-flip / mean"]
    assert mean.first.mean == pytest.approx(-0.3 + sum(JITTER))


def test_a_failed_run_is_left_out_of_its_pair() -> None:
    found = compare(whole(make()), whole(make(broken="no memory")))
    assert "label-flip / multi-krum" in {item.cell for item in found.refused}


def test_nested_differences_are_told_by_place() -> None:
    first = {"a": {"b": [{"c": 1}, {"c": 2}]}, "same": 0}
    second = {"a": {"b": [{"c": 1}, {"c": 3}]}, "same": 0, "new": True}
    assert [(u.place, u.first, u.second) for u in differing(first, second)] == [
        ("a.b[1].c", "2", "3"),
        ("new", "(absent)", "True"),
    ]


def test_a_cell_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asepsis.experiments import compare as module

    monkeypatch.setattr(module, "load_results", lambda _: make())
    assert module.side("somewhere::label-flip / mean").groups[0].defense == "mean"
    with pytest.raises(ConfigError, match="did you mean 'chest X-rays: label-flip / mean'"):
        module.side("somewhere::chest X-rays: label-flip / men")
