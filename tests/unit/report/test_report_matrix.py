"""The threat matrix, on records made up by hand."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from typing import Any

import pytest
from report_study import FLIP, PATCH, experiment, record
from rich.console import Console

from asepsis.core.errors import ConfigError
from asepsis.experiments.matrix import undefended
from asepsis.experiments.plan import Cell, Refused, probe_name, study_from
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Component, Scenario, Study, parse
from asepsis.report.html import render
from asepsis.report.matrix import NOT_TRIED, SURVEY, Section, section, tables
from asepsis.report.page import environment
from asepsis.report.terminal import print_results

TITLE, TUNING = "records: two hospitals", "records: tuning"
FLOOR = f"floor/{probe_name(PATCH)}"
HARM = {  # attack, rule: accuracy, ASR
    ("none", "mean"): (0.85, None),
    ("none", "krum"): (0.85, None),
    ("none", "median"): (0.8, None),
    ("label-flip", "mean"): (0.6, None),
    ("label-flip", "krum"): (0.83, None),
    ("label-flip", "median"): (0.8, None),
    ("badnets", "mean"): (0.85, 0.91),
    ("badnets", "krum"): (0.85, 0.28),
}
ADAPTED = {
    ("adaptive-poisoning", "mean"): (0.55, None),
    ("adaptive-poisoning", "median"): (0.7, None),
}
EYES = "loss-mia"
EAR = "loss-mia (sees=messages)"
KNOWING: Component = {"name": "adaptive-poisoning"}
WHY = "<b>krum</b> is too small; use median"


def of(attack: str) -> Component | None:
    return {"none": None, "label-flip": FLIP, "badnets": PATCH, "adaptive-poisoning": KNOWING}[
        attack
    ]


def watched(excess: float) -> list[dict[str, Any]]:
    scores = {"held-out/excess": excess}
    heard = {"held-out/excess": excess / 2}
    return [
        {"by": EYES, "round": 3, "kind": "membership", "scores": scores},
        {"by": EAR, "round": 3, "kind": "membership", "scores": heard},
    ]


def listened(lines: list[Any], loud: float) -> None:
    """Let a detector score six hospitals a round; of four attacked ones, three are hostile."""
    for line in lines:
        if line["type"] == "round":
            bad = [0, 1, 2] if line["result"]["hostile"] else []
            scores = {str(i): loud if i in bad else 0.1 for i in range(6)}
            told = {"present": list(range(6)), "dropped": [], "hostile": bad}
            line["result"] |= {**told, "monitors": {"norm": scores}}


def run(attack: str, rule: str, seed: int, title: str = TITLE, loud: float = 0.9) -> Run:
    accuracy, asr = {**HARM, **ADAPTED}[attack, rule]
    shift = (seed % 3 - 1) * 0.01 if attack != "none" else 0.0
    tail = {"balanced_accuracy": accuracy + shift, **({} if asr is None else {"asr": asr})}
    tail |= {FLOOR: 0.1} if attack == "none" else {}
    spec = experiment(of(attack), rule, seed, "phantom")
    leak = watched({"mean": 0.2, "krum": 0.05, "median": 0.0}[rule]) if attack == "none" else []
    lines = record(spec, tail, evidence=leak)
    resolved = lines[0]["result"]["resolved"]
    looking = [{"name": EYES, "sees": "delivery"}, {"name": EAR, "sees": "messages"}]
    resolved["observe"] = looking if attack == "none" else []
    lines[-1]["result"]["prior"] = {}
    if rule == "mean":
        listened(lines, loud)
    return Run(Cell(title, attack, rule, seed, spec), lines)


def study(*seeds: int, refused: tuple[Refused, ...] = (), adapted: bool = False) -> Results:
    cells = [*HARM, *(ADAPTED if adapted else ())]
    runs = [run(attack, rule, seed) for attack, rule in cells for seed in seeds]
    runs += [run(attack, "mean", 100, TUNING) for attack in ("none", "label-flip", "badnets")]
    one = experiment(None, "mean", 0, "phantom")
    scenarios = (
        Scenario(title=TITLE, experiment=one, modality="records"),
        Scenario(title=TUNING, experiment=one, modality="records", tunes=True, seeds=(100,)),
    )
    made = Study(name="matrix", seeds=seeds, scenarios=scenarios)
    return Results(made, runs, refused=refused)


def shown(results: Results) -> Section:
    found = section(results)
    assert found is not None
    return found


def page(results: Results) -> str:
    module: Any = environment().get_template("matrix.html.j2").module
    return str(module.threat_matrix(shown(results)))


def lines(found: Section) -> dict[str, dict[str, str]]:
    heads = [*found.grid.heads[:13], "best left", "adaptive", "worst", "worst left"]
    return {
        row[2].text: dict(zip(heads, (cell.text for cell in row), strict=True))
        for row in found.grid.rows
    }


def test_every_threat_has_a_row_with_what_it_did_without_a_defense() -> None:
    rows = lines(shown(study(0)))
    assert set(rows) == {"label-flip", "badnets", EYES, EAR}
    flip = rows["label-flip"]
    assert flip["severity without a defense"] == "26.0"
    assert (flip["level"], flip["goal"], flip["attacker"]) == (
        "high",
        "availability",
        "a malicious hospital",
    )
    assert rows["badnets"]["severity without a defense"] == "90.0"
    assert rows[EYES]["severity without a defense"] == "40.0"
    assert {row["survey: severity"] for row in rows.values()} == {SURVEY}


def test_the_best_defense_is_the_one_under_which_least_is_left() -> None:
    rows = lines(shown(study(0)))
    assert (rows["label-flip"]["best defense"], rows["label-flip"]["best left"]) == (
        "median",
        "1.0",
    )
    assert (rows["label-flip"]["worst"], rows["label-flip"]["worst left"]) == ("krum", "3.0")
    assert (rows["badnets"]["best defense"], rows["badnets"]["worst"]) == ("krum", "–")


def test_a_model_that_never_learned_is_no_defense() -> None:
    results = study(0)
    for item in results.runs:
        if item.cell.defense == "median":
            item.footer["tail"]["balanced_accuracy"] = 0.5
            item.footer["last"]["balanced_accuracy"] = 0.5
    found = shown(results)
    assert lines(found)["label-flip"]["best defense"] == "krum"
    [row] = [row for row in found.maps[0].grid.rows if row[1].text == "label-flip"]
    assert row[found.maps[0].grid.heads.index("median")].text == "0.0* undertrained"


def test_a_model_that_never_learned_has_no_level_no_rank_and_no_best_defense() -> None:
    results = study(0)
    for item in results.runs:
        if item.cell.defense == "mean":
            item.footer["tail"]["balanced_accuracy"] = 0.5
            item.footer["last"]["balanced_accuracy"] = 0.5
    flip = lines(shown(results))["label-flip"]
    assert (flip["level"], flip["rank"], flip["best defense"]) == ("undertrained", "–", "–")


def test_who_listens_on_the_wire_is_not_the_server() -> None:
    rows = lines(shown(study(0)))
    assert rows[EYES]["attacker"] == "a curious server"
    assert rows[EAR]["attacker"] == "an eavesdropper on the wire"
    assert rows[EAR]["severity without a defense"] == "20.0"
    assert rows[EAR]["detection"] == "undetectable by construction"


def test_beside_the_best_defense_stands_what_an_attacker_does_who_knows_it() -> None:
    found = shown(study(0, adapted=True))
    rows = lines(found)
    assert (rows["label-flip"]["best defense"], rows["label-flip"]["adaptive"]) == (
        "median",
        "11.0",
    )
    assert rows["badnets"]["adaptive"] == rows[EYES]["adaptive"] == NOT_TRIED
    assert found.maps[0].adaptive == [
        "availability: adaptive: not tried under krum",
        "integrity: adaptive: not tried under any defense",
        "confidentiality: adaptive: not tried under any defense",
    ]
    assert "adaptive: not tried under krum" in page(study(0, adapted=True))


def test_an_adaptive_attack_without_figures_does_not_read_as_a_defense_that_held() -> None:
    results = study(0, adapted=True)
    for item in results.runs:
        if (item.cell.attack, item.cell.defense) == ("adaptive-poisoning", "median"):
            item.footer["status"] = "error"
    rows = lines(shown(results))
    assert rows["label-flip"]["adaptive"] == "n/e"


def test_runs_without_figures_are_not_hidden_in_the_mean() -> None:
    results = study(0, 1, 2)
    [lost] = [
        item
        for item in results.runs
        if (item.cell.attack, item.cell.defense, item.cell.seed) == ("label-flip", "krum", 2)
    ]
    lost.footer["status"] = "error"
    [row] = [row for row in shown(results).maps[0].grid.rows if row[1].text == "label-flip"]
    cell = next(cell for cell in row if "!" in cell.text)
    assert "1 runs ended without figures" in cell.hint


def test_what_a_defense_costs_without_an_attack_stands_beside_what_it_leaves() -> None:
    found = shown(study(0))
    assert found.maps[0].prices == "krum 0.0, median 5.0"
    assert "where nobody attacks, in %, not counted as harm: krum 0.0, median 5.0." in page(
        study(0)
    )


def test_a_defense_under_which_nothing_less_is_left_is_not_the_best_one() -> None:
    results = study(0)
    for item in results.runs:
        if item.cell.attack == "badnets" and item.cell.defense == "krum":
            item.footer["tail"]["asr"] = 0.91
    bad = lines(shown(results))["badnets"]
    assert (bad["best defense"], bad["best left"], bad["adaptive"]) == (
        "nothing helps",
        "90.0",
        "–",
    )


def test_every_table_of_it_is_exported_and_tells_how_it_is_made_again() -> None:
    results = study(0, refused=(Refused(TITLE, "generator-poison", "mean", "not on tables"),))
    assert [name for name, _, _ in tables(results)] == [
        "matrix",
        "matrix-1",
        "matrix-1-reasons",
    ]
    again = study_from(tomllib.loads(shown(results).maps[0].again.toml), "again")
    assert [(one.title, one.tunes, one.seeds) for one in again.scenarios] == [
        (TITLE, False, None),
        (TUNING, True, (100,)),
    ]
    assert again.seeds == (0,)
    assert page(results).count("Make this again") == 2


def test_seeds_have_an_interval_and_one_seed_says_that_it_has_none() -> None:
    [text] = [
        row["severity without a defense"]
        for n, row in lines(shown(study(0, 1, 2))).items()
        if n == "label-flip"
    ]
    half = 100 * 4.302652729911275 * 0.01 / math.sqrt(3)
    assert text == f"25.0 [{25 - half:.1f}, {25 + half:.1f}]"
    assert not shown(study(0, 1, 2)).alone
    assert shown(study(0)).alone
    assert "One seed" in page(study(0))
    assert "One seed" not in page(study(0, 1, 2))


def test_ranks_are_counted_inside_one_goal() -> None:
    found = shown(study(0))
    assert [(row[0].text, row[1].text) for row in found.grid.rows] == [
        ("availability", "1"),
        ("integrity", "1"),
        ("confidentiality", "1"),
        ("confidentiality", "2"),
    ]


def test_who_only_looks_cannot_be_detected_and_others_are_measured_on_fresh_seeds() -> None:
    rows = lines(shown(study(0, 1, 2)))
    assert rows[EYES]["detection"] == "undetectable by construction"
    assert "norm" in rows["label-flip"]["detection"]
    assert "100.0" in rows["label-flip"]["detection"]


def test_what_does_not_fit_is_a_footnote_in_the_refusals_own_words_and_escaped() -> None:
    refused = (
        Refused(TITLE, "generator-poison", "mean", "not on tables"),
        Refused(TITLE, "badnets", "median", WHY),
        Refused(TITLE, "none", "bulyan", WHY),
    )
    results = study(0, refused=refused)
    [map_] = shown(results).maps
    cells = {
        row[1].text: dict(zip(map_.grid.heads[2:], (c.text for c in row[2:]), strict=True))
        for row in map_.grid.rows
    }
    assert set(map_.reasons) == {WHY, "not on tables"}
    number = map_.reasons.index(WHY) + 1
    assert cells["badnets"]["median"] == f"n/a ({number})"
    assert cells[EYES]["bulyan"] == f"n/a ({number})"
    assert cells["label-flip"]["bulyan"] == "–"
    assert cells["generator-poison"]["krum"] == "–"
    text = page(results)
    assert "&lt;b&gt;krum&lt;/b&gt;" in text
    assert "<b>krum</b>" not in text


def test_the_report_holds_it() -> None:
    results = study(0)
    few = [run for run in results.runs if run.cell.attack == "none" and run.cell.seed == 0][:1]
    assert 'href="#matrix"' in render(replace(results, runs=few))


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_it_with_its_reasons(width: int) -> None:
    console = Console(width=width, color_system=None)
    with console.capture() as said:
        print_results(study(0, refused=(Refused(TITLE, "badnets", "median", WHY),)), console)
    text = said.get()
    assert max(map(len, text.splitlines())) <= width
    assert "Threat matrix, integrity" in text
    assert "records (1) n/a: <b>krum</b> is too small" in " ".join(text.split())


def test_a_study_without_modalities_has_none() -> None:
    results = study(0)
    bare = tuple(one.model_copy(update={"modality": ""}) for one in results.study.scenarios)
    plain = replace(results, study=results.study.model_copy(update={"scenarios": bare}))
    assert section(plain) is None


def test_detectors_are_not_tuned_on_the_seeds_that_judge_them() -> None:
    table = {
        "name": "x",
        "seeds": [0, 1],
        "scenarios": [
            {"modality": "records", "experiment": {}},
            {"modality": "records", "tunes": True, "seeds": [1], "experiment": {}},
        ],
    }
    with pytest.raises(ConfigError) as caught:
        parse(Study, table)
    assert "tuned on seeds" in str(caught.value)


def test_a_stack_of_idle_stages_defends_nobody() -> None:
    assert [undefended(stack) for stack in ("mean", "plain + monitor + mean", "krum")] == [
        True,
        True,
        False,
    ]
