"""What observers learned is shown beside what is known without looking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from report_study import experiment, inversion, record
from rich.console import Console

from asepsis.experiments.claims import measured
from asepsis.experiments.identity import identity
from asepsis.experiments.leaks import learned, observers
from asepsis.experiments.plan import Cell
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Claim, Scenario, Study
from asepsis.experiments.store import Store, write_tensors
from asepsis.report.findings import scenarios
from asepsis.report.html import render
from asepsis.report.leaked import blocks, grids, silent
from asepsis.report.pictures import inversions
from asepsis.report.promised import promised_grid
from asepsis.report.rocs import curves
from asepsis.report.sentences import caveats
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


WHY = "2 hospitals do not vouch for the model that the server sent"
STACKS = ("mean", "gradient-pruning (share=0.9) + mean", "secure-aggregation + mean")


def stopped(attacks: tuple[str, ...] = ("none",)) -> Results:
    """Two observers; where the channel stops every round, one of them has nothing to claim."""
    runs = []
    for attack in attacks:
        for stack in STACKS:
            component = None if attack == "none" else {"name": attack}
            spec = experiment(component, "mean", 0, "phantom")
            scores = {"isolated": 0.5, "relative_error": 0.237, "cosine": 0.974}
            evidence = [entry(3, BY, "membership", **{f"held-out/{k}": 0.9 for k in FIGURES})]
            void = stack == STACKS[-1]
            if not void:
                evidence.append(entry(3, "model-inconsistency", "isolation", **scores))
            lines = record(
                spec,
                {"balanced_accuracy": 0.8},
                evidence=evidence,
                round={"void": WHY} if void else {},
            )
            named = (BY, "model-inconsistency", "dlg (iterations=3)")
            lines[0]["result"]["resolved"]["observe"] = [{"name": name} for name in named]
            runs.append(Run(Cell("who sees what", attack, stack, 0, spec), lines))
    scenario = Scenario(title="who sees what", experiment=experiment(None, "mean", 0, "phantom"))
    return Results(Study(name="stopped", scenarios=(scenario,)), runs)


FIGURES = ("auc", "low", "high", "blind", "excess", "tpr@1%", "tpr@0.1%")


def test_a_protection_that_works_stays_in_the_table() -> None:
    [scenario] = scenarios(stopped())
    [_, grid] = [grid for _, grid in grids(scenario)]
    rows = {row[1].text: [cell.text for cell in row] for row in grid.rows}
    assert list(rows) == list(STACKS)
    assert rows["mean"][2:] == ["50.0", "0.237", "0.974"]
    said = f"nothing claimed (6 of 6 rounds void: {WHY})"
    assert rows[STACKS[-1]] == ["model-inconsistency", STACKS[-1], said, "–", "–"]
    assert said in render(stopped())


def test_what_the_runs_own_attack_did_not_learn_is_said_too(tmp_path: Path) -> None:
    results = inversion(tmp_path)
    attacking = [run for run in results.runs if run.cell.attack == "dlg"]
    for run in attacking:
        run.lines[0]["result"]["resolved"]["role"] = "eavesdropper"
    attacking[1].footer["evidence"].clear()
    [scenario] = scenarios(results)
    assert scenario.passive
    [(_, grid)] = grids(scenario)
    assert [[cell.text for cell in row][:3] for row in grid.rows] == [
        ["dlg", "plain + mean", "24.0"],
        ["dlg", "secure-sum + mean", "nothing claimed"],
    ]


def test_who_looks_beside_another_who_looks_has_a_table_of_its_own(tmp_path: Path) -> None:
    results = inversion(tmp_path)
    for run in results.runs:
        run.footer["evidence"].append(entry(0, BY, "membership", **{"federation/auc": 0.5}))
    titles = [(block.title, block.stacks) for block in blocks(scenarios(results)[0])]
    stacks = ["plain + mean", "secure-sum + mean"]
    named = [f"{BY}, attack: none", f"{BY}, attack: dlg", "dlg"]
    assert sorted(titles) == sorted((title, stacks) for title in named)
    [(_, grid), _] = grids(scenarios(results)[0])
    assert grid.heads[:3] == ["who looks", "attack", "through"]


def test_who_never_claimed_anything_is_named() -> None:
    assert [silent(scenario) for scenario in scenarios(stopped())] == [["dlg (iterations=3)"]]
    [note] = [note.text for note in caveats(stopped()) if "never claimed" in note.text]
    assert note.startswith("dlg (iterations=3) never claimed anything in who sees what")
    assert not [note for note in caveats(curious()) if "never claimed" in note.text]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("attacks", [("none",), ("none", "sign-flip")])
def test_leaks_are_readable_in_a_terminal(width: int, attacks: tuple[str, ...]) -> None:
    results = stopped(attacks)
    console = Console(width=width, color_system=None)
    with console.capture() as said:
        print_results(results, console)
    lines = said.get().splitlines()
    assert max(map(len, lines)) <= width
    start = next(i for i, line in enumerate(lines) if line.startswith("Who was trained on?"))
    stop = next(i for i, line in enumerate(lines) if "half-width of a 95%" in line)
    leaks = lines[start:stop]
    words = set(
        " ".join(leaks).replace("│", " ").replace(",", " ").replace("sent)", "sent").split()
    )
    wanted = f"{BY} {' '.join(STACKS)} {WHY} model-inconsistency hospital cosine nothing claimed"
    assert set(wanted.split()) <= words
    assert "at 0.1%" not in "\n".join(leaks), "that is for the page"
    assert len([line for line in leaks if line.startswith("│ AUC, same hospital")]) == len(
        attacks
    ) * (2 if width == 80 else 1)


def test_many_stacks_stand_below_each_other() -> None:
    runs = []
    for i in range(9):
        spec = experiment(None, "mean", 0, "phantom")
        lines = record(spec, {}, evidence=[entry(0, "dlg", "inversion", psnr=float(i), ssim=0.1)])
        runs.append(Run(Cell("x", "none", f"stack-{i}", 0, spec), lines))
    console = Console(width=80, color_system=None)
    with console.capture() as said:
        print_results(Results(curious().study, runs), console)
    assert "│ stack-7 │ 7.0 " in said.get()


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


def test_roc_curves_stand_on_logarithmic_axes_without_their_zeros() -> None:
    results = curious()
    for run in results.runs:
        run.footer["evidence"][-1]["curves"] = {
            "held-out": [[0.0, 0.0], [0.0, 0.2], [0.01, 0.3], [1.0, 1.0]],
            "held-out (blind)": [[0.0, 0.0], [1.0, 1.0]],
        }
    [scenario] = scenarios(results)
    [plot] = curves(scenario, "s0")
    assert plot.title.startswith(BY)
    assert all(name in plot.svg for name in ("mean", "secure-sum + mean", "blind"))
    assert plot.title in render(results)
    assert not curves(scenarios(curious())[0], "s0")


def test_each_observers_pictures_are_its_own(tmp_path: Path) -> None:
    results = replace(curious(), root=tmp_path)
    store = Store(tmp_path).open()
    for number, run in enumerate(results.runs):
        run.lines[0]["result"]["resolved"]["observe"] = [{"name": BY}, {"name": "dlg"}]
        path = store.artifact(identity(run.cell.spec, "threads"), 0, 1)
        truth = torch.full((1, 1, 4, 4), 0.5 * number)
        write_tensors(path, {"truth": truth, "guess": truth})
    [scenario] = scenarios(results)
    strips = inversions(results, scenario)
    assert [strip.title.split(",")[0] for strip in strips] == [
        "dlg through mean",
        "dlg through secure-sum + mean",
    ]
