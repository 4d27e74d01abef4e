"""What observers learned is shown beside what is known without looking."""

from __future__ import annotations

from typing import Any

import pytest
from report_study import experiment, record
from rich.console import Console

from asepsis.experiments.claims import measured
from asepsis.experiments.leaks import learned, observers
from asepsis.experiments.plan import Cell
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Claim, Scenario, Study
from asepsis.report.findings import scenarios
from asepsis.report.html import render
from asepsis.report.leaked import grids
from asepsis.report.promised import promised_grid
from asepsis.report.terminal import print_results

BY = "fedmia (variant=II)"


def entry(round_: int, by: str, kind: str, **scores: float) -> dict[str, Any]:
    return {"by": by, "round": round_, "kind": kind, "about": None, "scores": scores, "attack": {}}


def curious(*claims: Claim, seeds: tuple[int, ...] = (0,)) -> Results:
    """FedMIA at two rounds, DLG at two: of the one the last counts, of the other the mean."""
    runs = []
    for seed in seeds:
        for channel, auc in (("mean", 0.9), ("secure-sum + mean", 0.5)):
            spec = experiment(None, "mean", seed, "phantom")
            auc_now = {"held-out/auc": auc, "held-out/low": auc - 0.05, "held-out/high": auc + 0.04}
            evidence = [
                entry(0, BY, "membership", **{"held-out/auc": 0.6}),
                entry(0, "dlg", "inversion", psnr=10.0, success=0.0),
                entry(3, "dlg", "inversion", psnr=14.0, success=0.0),
                entry(3, BY, "membership", **auc_now, **{"held-out/tpr@0.1%": float("nan")}),
            ]
            cell = Cell("who sees what", "none", channel, seed, spec)
            runs.append(Run(cell, record(spec, {"balanced_accuracy": 0.8}, evidence=evidence)))
    scenario = Scenario(title="who sees what", experiment=experiment(None, "mean", 0, "phantom"))
    return Results(Study(name="curious", claims=claims, scenarios=(scenario,)), runs)


def test_membership_is_what_was_gathered_and_inversion_the_mean_over_rounds() -> None:
    [plain, _] = curious().groups()
    assert observers(plain) == {BY: "membership", "dlg": "inversion"}
    assert learned(plain, BY, "held-out/auc").mean == pytest.approx(0.9)
    assert learned(plain, "dlg", "psnr").mean == pytest.approx(12.0)


def test_a_single_run_has_the_interval_of_its_patients_and_several_that_of_seeds() -> None:
    [one, _] = curious().groups()
    found = learned(one, BY, "held-out/auc")
    assert (found.low, found.high) == pytest.approx((0.85, 0.94))
    [three, _] = curious(seeds=(0, 1, 2)).groups()
    found = learned(three, BY, "held-out/auc")
    assert (found.low, found.high, found.n) == pytest.approx((0.9, 0.9, 3))


def test_every_kind_has_a_table_with_one_row_an_observer_and_channel() -> None:
    [scenario] = scenarios(curious())
    tables = dict(grids(scenario))
    assert [len(grid.rows) for grid in tables.values()] == [2, 2]
    first = next(iter(tables.values()))
    row = dict(zip(first.heads, [cell.text for cell in first.rows[0]], strict=True))
    assert row["AUC, same hospital"] == "90.0 [85.0, 94.0]"
    assert row["at 0.1%"] == "n/e"


def test_terminal_and_page_show_them() -> None:
    results = curious()
    console = Console(width=110, record=True, file=None, force_terminal=False)
    with console.capture() as said:
        print_results(results, console)
    page = render(results)
    for text in (said.get(), page):
        assert "90.0 [85.0, 94.0]" in text
        assert BY in text.replace("\n", " ")


def test_a_claim_may_be_about_what_an_observer_learned() -> None:
    about: dict[str, Any] = {"says": "x", "paper": 0.9, "attack": "none", "defense": "mean"}
    [found] = measured(curious(Claim(metric=f"observe/{BY}/held-out/auc", **about)))
    assert found.value.mean == pytest.approx(0.9)


def test_a_promise_of_privacy_stands_with_its_unit_and_its_worst_epsilon() -> None:
    results = curious(seeds=(0, 1))
    for run, epsilon in zip(results.runs, (2.0, 2.0, 3.5, 3.5), strict=True):
        run.footer["privacy"] = [
            {
                "mechanism": "dp-mean",
                "epsilon": epsilon,
                "delta": 1e-05,
                "unit": "hospital",
                "neighbors": "add or remove one",
                "trust": "central",
                "sampling": "poisson",
                "accountant": "rdp",
            }
        ]
    [scenario] = scenarios(results)
    grid = promised_grid(scenario)
    assert [[cell.text for cell in row][1:5] for row in grid.rows] == [
        ["dp-mean", "3.50", "1e-05", "hospital"]
    ] * 2
    console = Console(width=200)
    with console.capture() as said:
        print_results(results, console)
    assert "epsilon 3.50 at delta 1e-05 to one hospital" in said.get()
    assert "What is promised of privacy" in render(results)
