from __future__ import annotations

import io
import math
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from durable_study import STRONG, WEAK, durable, fading, made_of
from rich.console import Console

from asepsis.experiments.identity import identity
from asepsis.experiments.naming import row_label
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Claim, Experiment, Study, parse
from asepsis.experiments.store import Store, write_tensors
from asepsis.report.claimed import claims_grid, source
from asepsis.report.findings import Scenario, Verdict, scenarios
from asepsis.report.html import render
from asepsis.report.lasting import durability_grid, in_short, life, matched_grid
from asepsis.report.paired import figures_grid
from asepsis.report.pictures import galleries
from asepsis.report.plots import averaged, draw, lowest_share
from asepsis.report.sentences import caveats, headline, told
from asepsis.report.terminal import print_results
from asepsis.report.toml_text import study_toml
from asepsis.report.wording import NONE

WEAK_NAME = "badnets (share=0.9)"


def texts(results: Results) -> dict[str, list[str]]:
    grid = durability_grid(scenarios(results)[0])
    return {row[0].text: [cell.text for cell in row[2:]] for row in grid.rows}


def one(curve: list[float]) -> Results:
    runs, study = made_of({"badnets": (STRONG, "mean", [curve])})
    return Results(study, runs)


def slower(spec: Experiment) -> Experiment:
    return spec.model_copy(update={"trainer": {"name": "sgd", "lr": 0.1}})


def printed(results: Results, width: int = 80) -> str:
    out = io.StringIO()
    print_results(results, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_the_table_says_how_strong_and_how_long() -> None:
    found = texts(durable())
    assert found["badnets"][:3] == ["100.0 ±0.0", "20.0 ±0.0", "100.0 ±0.0"]
    assert found["badnets"][3] == "7.3 ±2.9, 1 of 3 >8"
    assert found[WEAK_NAME][3] == "2.0 ±2.5"


@pytest.mark.parametrize(("rounds", "shown"), [(3, "3"), (9, ">8")])
def test_one_run_is_written_as_it_is(rounds: int, shown: str) -> None:
    finding = next(f for f in scenarios(one(fading(rounds)))[0].findings if f.lasting)
    assert finding.lasting is not None
    assert life(finding.lasting) == shown
    assert in_short(finding.lasting)[1] == f"lived {shown}"


def floor_of_one(results: Results, seed: int, *rounds: int) -> Results:
    """Let the clean model of a seed always give the attacker's answer."""
    [twin] = [r for r in results.runs if (r.cell.attack, r.cell.seed) == ("none", seed)]
    for number in rounds:
        item = twin.rounds[number]
        floors = {name: 1.0 for name in item["metrics"] if name.startswith("floor/")}
        item["metrics"] = item["metrics"] | floors
    return results


def test_a_run_without_a_half_life_is_not_counted_as_one() -> None:
    runs, study = made_of({"badnets": (STRONG, "mean", [[1.0] * 9, [0.1] * 9])})
    assert texts(Results(study, runs))["badnets"][4] == ">8 (n=1)"


def test_a_run_whose_floor_reached_one_is_named_and_costs_no_other() -> None:
    results = floor_of_one(durable(), 1, *range(8, 13))
    assert texts(results)["badnets"][3] == "7.0 ±12.7 (n=2)"
    assert texts(results)[WEAK_NAME][3] == "2.0 ±2.5"
    [note] = [note.text for note in caveats(results) if "not estimable" in note.text]
    assert "badnets / mean (seed 1)." in note


def test_a_curve_is_a_mean_over_the_same_runs_in_every_round() -> None:
    shown = averaged("a", [[0.1, 0.2, 0.3], [0.3, math.nan, 0.5]])
    assert shown.rounds.tolist() == [1, 3]
    assert shown.mean.tolist() == pytest.approx([0.2, 0.4])


def test_a_backdoor_that_is_gone_at_the_end_was_still_planted() -> None:
    results = durable()
    fleeting = scenarios(results)[0].at(WEAK_NAME, "mean")
    assert fleeting is not None
    assert fleeting.excess.mean == pytest.approx(0.1)
    assert fleeting.verdict is Verdict.PLANTED


def test_a_backdoor_that_was_never_planted_has_no_life() -> None:
    runs, study = made_of({"badnets": (STRONG, "mean", [[0.05] * 9, [0.04] * 9, [0.06] * 9])})
    finding = next(f for f in scenarios(Results(study, runs))[0].findings if f.lasting)
    assert finding.verdict is Verdict.BLOCKED
    assert finding.lasting is not None
    assert in_short(finding.lasting) == ["excess 5.0 ±2.5"]
    assert texts(Results(study, runs))["badnets"][4] == "–"  # no half-life


def test_equally_strong_attacks_are_compared() -> None:
    [row] = matched_grid(scenarios(durable())[0]).rows
    assert [cell.text for cell in row[:4]] == ["badnets", WEAK_NAME, "mean", "100.0 and 100.0"]
    assert row[4].text.startswith("+5.3")
    assert row[5].text == "outlived it"


def test_attacks_of_other_strength_are_not() -> None:
    curves = {
        "badnets": (STRONG, "mean", [fading(6)] * 3),
        WEAK_NAME: (WEAK, "mean", [[0.7] * 9] * 3),
    }
    runs, study = made_of(curves)
    assert matched_grid(scenarios(Results(study, runs))[0]).rows == []


def test_sentences_speak_of_departure_and_life() -> None:
    results = durable()
    assert "badnets 7.3 ±2.9, 1 of 3 >8 and badnets (share=0.9) 2.0 ±2.5" in headline(results)[0]
    lines = " ".join(told(scenarios(results)[0]))
    assert "when its attacker left" in lines
    assert "it lived 2.0 ±2.5 rounds after the attacker left" in lines


def test_the_page_shows_the_time_after_departure() -> None:
    page = render(durable())
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    shown = [t for d in drawings for t in re.findall(r"<title[^>]*>(.*?)</title>", d)]
    assert shown[:3] == [
        "balanced accuracy, mean",
        "excess attack success, mean",
        "backdoors alive, mean",
    ]
    assert "attacker left" in drawings[0]
    assert "After the attacker left" in page


def test_every_attacked_round_is_shaded_and_no_other() -> None:
    flat = averaged("a", [[0.1] * 9])
    drawn = draw([flat], ylabel="y", attacked=[2, 3, 6], references=[flat, flat])
    spans = [patch.get_extents() for patch in drawn.axes[0].patches]
    to_rounds = drawn.axes[0].transData.inverted()
    found = [to_rounds.transform([[box.x0, 0], [box.x1, 0]])[:, 0].tolist() for box in spans]
    assert found == [pytest.approx([2.5, 4.5]), pytest.approx([6.5, 7.5])]
    thin = drawn.axes[0].lines[1:3]
    assert thin[0].get_color() != thin[1].get_color()


def test_below_the_floor_is_drawn_too() -> None:
    runs, study = made_of({"badnets": (STRONG, "mean", [[1.0] + [-0.2] * 8] * 3)})
    assert lowest_share([averaged("x", [[1.0, -0.2]])]) == pytest.approx(-0.2)
    assert "excess attack success, mean" in render(Results(study, runs))


def test_federations_that_differ_have_each_their_own_line_without_attack() -> None:
    runs, study = made_of({"badnets": (STRONG, "mean", [fading(6)] * 3)})
    other = [
        Run(replace(r.cell, labels=(("lr", "0.1"),), spec=slower(r.cell.spec)), r.lines)
        for r in runs
    ]
    drawn = re.findall(r"<svg.*?</svg>", render(Results(study, [*runs, *other])), flags=re.DOTALL)
    assert re.findall(r"nobody attacks[^<]*", drawn[0]) == [
        "nobody attacks",
        f"nobody attacks{row_label('', other[0].cell.labels)}",
    ]


def test_two_seeds_draw_no_survival_curve() -> None:
    runs, study = made_of({"badnets": (STRONG, "mean", [fading(6), fading(7)])})
    assert "backdoors alive" not in render(Results(study, runs))


def test_an_attacker_who_stays_has_no_such_section(study: object) -> None:
    assert callable(study)
    assert "After the attacker left" not in render(study())


def test_the_terminal_says_it_in_two_lines() -> None:
    text = printed(durable())
    assert "excess 100.0 ±0.0" in text
    assert "lived 2.0 ±2.5" in text


def claim(metric: str, **about: object) -> Claim:
    made: Claim = parse(
        Claim,
        {"says": "it lasts", "paper": 1.0, "attack": "badnets", "defense": "mean"}
        | {"metric": metric, **about},
    )
    return made


def row(*claims: Claim) -> list[str]:
    [found] = claims_grid(durable(claims=claims)).rows
    return [cell.text for cell in found]


def test_claims_stand_side_by_side() -> None:
    assert row(claim("asr_at_departure")) == [
        "it lasts",
        "badnets, mean",
        "100.0%",
        "100.0 ±0.0%",
        "3",
    ]
    assert row(claim("lifespan", paper=40, unit="rounds"))[2:4] == [
        "40 rounds",
        "7.3 ±2.9 rounds, 1 of 3 >8",
    ]
    assert row(claim("utility change", paper=-0.01))[2:4] == ["−1.0 points", "−2.0 ±0.0 points"]
    assert row(claim("nothing", paper="not told"))[2:4] == ["not told", "not measured"]
    assert row(claim("asr", defense="krum"))[3:] == ["not part of this run", "–"]


def test_comparisons_are_told_in_words() -> None:
    assert row(claim("lifespan", against=WEAK_NAME))[3].startswith("outlived it by 5.3")
    turned = claim("lifespan", attack=WEAK_NAME, against="badnets")
    assert row(turned)[3].startswith("did not outlive it: −5.3")
    same = claim("balanced_accuracy", against=WEAK_NAME)
    assert row(same)[3] == "unclear: 0.0 ±0.0 points"


def test_the_page_and_the_terminal_print_claims_with_their_source() -> None:
    results = durable(claims=(claim("lifespan"),), paper="doi x", fidelity="abstract")
    assert source(results).startswith("Paper: doi x. Fidelity: abstract (only the abstract")
    for text in (render(results), printed(results, 200)):
        assert "measured here" in text
        assert "Paper: doi x. Fidelity: abstract" in text
    assert "measured here" not in printed(durable())


def test_claims_survive_the_printed_toml() -> None:
    made = durable(claims=(claim("lifespan", paper="odd"), claim("asr")), profile="full").study
    again: Study = parse(Study, tomllib.loads(study_toml(made)))
    assert again == made


def kept(results: Results, root: Path) -> Results:
    """The same results with pictures that the first attacked run kept."""
    store = Store(root).open()
    run = next(run for run in results.runs if run.cell.attack == "badnets")
    shown = {"generated": torch.zeros(9, 1, 4, 4), "real": torch.ones(2, 3, 4, 4)}
    path = store.pictures(identity(run.cell.spec, "threads"))
    write_tensors(path, {**shown, "no image": torch.zeros(3)})
    return Results(results.study, results.runs, root=root)


def test_what_an_attack_kept_is_shown_in_rows(tmp_path: Path) -> None:
    results = kept(durable(), tmp_path)
    [gallery] = galleries(results, scenarios(results)[0])
    assert gallery.title == "badnets under mean, seed 0"
    assert [(name, len(row)) for name, row in gallery.rows] == [("real", 2), ("generated", 8)]
    assert "What an attack worked with" in render(results)
    assert galleries(durable(), scenarios(durable())[0]) == []


def test_a_damaged_picture_file_costs_only_the_pictures(tmp_path: Path) -> None:
    results = kept(durable(), tmp_path)
    for path in (tmp_path / "artifacts").iterdir():
        path.write_bytes(b"not a tensor")
    assert galleries(results, scenarios(results)[0]) == []


def test_a_paired_figure_that_does_not_exist_is_left_out() -> None:
    results = durable()
    for run in results.runs:
        if run.cell.attack != "none":
            run.lines[-1]["result"]["tail"]["backdoor/tn_micro"] = 0.7
    rows = [[cell.text for cell in row] for row in figures_grid(scenarios(results)[0]).rows]
    assert rows[1][2:] == ["micro AUROC, triggered images, true labels", "70.0 ±0.0", NONE]
    assert "paired AUROC" not in " ".join(told(scenarios(results)[0]))


def test_figures_beside_the_success_stand_beside_the_clean_model() -> None:
    results = durable()
    floor = next(
        key for run in results.runs for key in run.footer["tail"] if key.startswith("floor/")
    )
    for run in results.runs:
        beside = {"backdoor/paired_auroc": 0.98}
        if run.cell.attack == "none":
            beside = {floor.replace("floor/", "floor:paired_auroc/"): 0.5}
        run.lines[-1]["result"]["tail"] |= beside
    scenario: Scenario = scenarios(results)[0]
    rows = [[cell.text for cell in row] for row in figures_grid(scenario).rows]
    assert rows[1] == ["badnets", "mean", "paired AUROC of p(target)", "98.0 ±0.0", "50.0 ±0.0"]
    assert rows[0][2] == "ASR at 0.6"
    assert "What the trigger does to the answers" in render(results)
    assert figures_grid(scenarios(durable())[0]).rows == []
