"""What stands beside a figure makes exactly its runs again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from report_study import Maker

from asepsis.experiments.plan import Plan, load_study, plan_study, study_from
from asepsis.experiments.results import Results, Run
from asepsis.report import heat
from asepsis.report.again import Recipe, of_findings, of_scenario
from asepsis.report.findings import scenarios
from asepsis.report.html import render

AXES = """
seeds = [0, 1]
[[scenarios]]
title = "records"
[scenarios.experiment]
dataset = "breast-cancer"
federation = { hospitals = 6, rounds = 6 }
threat = { hostile = 1, starts_at = 2 }
[scenarios.over]
attack = ["none", "badnets", { name = "ipm", epsilon = 9.0 }]
defenses = [["mean"], [{ name = "krum", f = 1 }]]
"partition.alpha" = [0.5, 5.0]
[[scenarios]]
title = "images"
seeds = [3]
[scenarios.experiment]
dataset = { name = "phantom", n = 200 }
attack = "dlg"
trainer = { name = "sgd", batch_size = 1, steps = 1 }
federation = { hospitals = 3, rounds = 1 }
"""


@pytest.fixture
def planned(tmp_path: Path) -> Results:
    path = tmp_path / "axes.toml"
    path.write_text(AXES)
    study = load_study(str(path))
    return Results(study, [Run(cell, []) for cell in plan_study(study).cells])


def again(recipe: Recipe) -> Plan:
    return plan_study(study_from(tomllib.loads(recipe.toml), "again"))


def test_a_scenario_s_recipe_plans_the_same_runs(planned: Results) -> None:
    for number, scenario in enumerate(scenarios(planned)):
        recipe = of_scenario(planned, scenario, f"s{number}", hide=False)
        made = {cell.spec.digest() for cell in again(recipe).cells}
        assert {run.cell.spec.digest() for run in scenario.runs} <= made
        assert len(made) == len(again(recipe).cells)
        assert recipe.command.startswith(f"asepsis run s{number}.toml --engine")


def test_a_figure_s_recipe_plans_its_runs_and_their_twins_alone(planned: Results) -> None:
    scenario = scenarios(planned)[0]
    shown = [f for f in scenario.findings if f.attack.startswith("ipm")]
    recipe = of_findings(planned, scenario, shown, "figure", hide=False)
    cells = again(recipe).cells
    attacked = {cell.spec.digest() for cell in cells if cell.spec.attack}
    assert attacked == {run.cell.spec.digest() for f in shown for run in f.group.runs}
    twins = {cell.spec.digest() for cell in cells if not cell.spec.attack}
    assert twins == {run.cell.spec.twin().digest() for f in shown for run in f.group.runs}


def test_runs_that_form_a_product_become_axes(planned: Results) -> None:
    scenario = scenarios(planned)[0]
    narrow = [f for f in scenario.findings if dict(f.group.labels).get("partition.alpha") == "0.5"]
    recipe = of_findings(planned, scenario, narrow, "figure", hide=False)
    assert recipe.toml.count("[[scenarios]]") == 1
    assert "[scenarios.over]" in recipe.toml


def test_places_of_private_data_stay_out_and_that_is_said(planned: Results) -> None:
    recipe = of_scenario(planned, scenarios(planned)[0], "s0", hide=True)
    assert "/" not in recipe.toml.replace("[a file of the user]", "")


def test_every_table_and_plot_of_a_scenario_has_its_recipe(study: Maker) -> None:
    page = render(study())
    first = page.index('<section id="s0">')
    section = page[first : page.index("</section>", first)]
    plots = section.count("<svg")
    tables = section.count("<table") - section.count('data-file="s0-threats"')
    folds = section.count("Make this again")
    assert plots == 4
    pictures = section.count("<h3>What a trigger looks like")
    assert folds == plots + tables + pictures
    assert section.count("asepsis run s0") == folds


@pytest.mark.parametrize(("harm", "tone"), [(0.0199, "heat-0"), (0.02, "heat-1"), (0.4, "heat-5")])
def test_shades_turn_where_the_page_says(harm: float, tone: str) -> None:
    assert heat.shade(harm) == tone


def test_heat_maps_hold_numbers_and_shades(study: Maker) -> None:
    harm, trigger, hospitals = heat.maps(scenarios(study())[0])
    assert harm.grid.heads == ["attack", "mean", "multi-krum"]
    flip = harm.grid.rows[0]
    assert [cell.text for cell in flip] == ["label-flip", "−30.0", "0.0"]
    assert [cell.tone for cell in flip[1:]] == ["heat-4", "heat-0"]
    assert [cell.text for cell in trigger.grid.rows[0][1:]] == ["–", "–"]
    assert trigger.grid.rows[1][1].text == "90.0"
    # The worst hospital lies 0.1 below the mean in every run; the other is not estimable.
    assert [[cell.text for cell in row] for row in hospitals.grid.rows] == [
        ["north", "−30.0", "0.0"]
    ]
