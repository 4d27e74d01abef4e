"""One line a defense: what it knows, catches, costs and is worth; and many of them at once."""

from __future__ import annotations

import io
from typing import Any

from report_study import Maker
from rich.console import Console

from asepsis.experiments.results import Results
from asepsis.report.defended import defenses_grid
from asepsis.report.findings import scenarios
from asepsis.report.html import render
from asepsis.report.terminal import print_results

MANY = ("mean", "multi-krum", "krum", "median", "bulyan", "meamed", "trimmed-mean", "mda", "caf")


def told(results: Results) -> dict[str, dict[str, str]]:
    """The grid's text by defense and head."""
    (scenario,) = scenarios(results)
    grid = defenses_grid(scenario)
    return {
        row[0].text: {h: c.text for h, c in zip(grid.heads, row, strict=True)} for row in grid.rows
    }


def detected(results: Results, attack: str, **figures: float) -> None:
    for run in results.runs:
        if run.cell.attack == attack and run.cell.defense == "multi-krum":
            run.footer["detection"] = figures


def knowing(results: Results, **threat: Any) -> None:
    """Let everybody attack, if they do, with more knowledge."""
    for run in results.runs:
        spec = run.cell.spec
        changed = spec.threat.model_copy(update=threat)
        object.__setattr__(run.cell, "spec", spec.model_copy(update={"threat": changed}))


def asking(results: Results, attack: dict[str, Any]) -> None:
    """Put another attack in label flipping's place."""
    for run in results.runs:
        if run.cell.attack == "label-flip":
            spec = run.cell.spec.model_copy(update={"attack": attack})
            object.__setattr__(run.cell, "spec", spec)


def test_a_line_tells_what_a_defense_is_worth(study: Maker) -> None:
    made = study()
    detected(made, "none", false_exclusion=0.25, unusual_exclusion=1.0)
    detected(made, "label-flip", precision=0.5, recall=1.0, auc=0.9, false_exclusion=0.125)
    detected(made, "badnets", precision=1.0, recall=0.5, auc=0.7, false_exclusion=0.0)
    for run in made.runs:
        if run.cell.defense == "multi-krum":
            run.resolved["defenses"] = [{"name": "multi-krum", "f": 3, "knows": ["root"]}]
    row = told(made)["multi-krum"]
    assert row["knows"] == "f = 3, root"
    assert (row["caught (recall)"], row["of those flagged, hostile (precision)"]) == ("75%", "75%")
    assert row["AUC"] == "0.80"
    assert row["honest excluded without attack"] == "25%"
    assert row["honest excluded under attack"] == "6%"
    assert row["unusual excluded without attack"] == "100%"
    assert row["balanced accuracy without attack"].startswith("85.0 ±")
    assert row["worst hospital without attack"] == "75.0%"
    assert row["highest excess ASR"] == "0%"
    assert row["under an attacker who knows it"] == "not tried"


def test_a_share_below_zero_has_a_true_minus_sign(study: Maker) -> None:
    results = study()
    for run in results.runs:
        if run.cell.attack == "badnets":
            run.footer["tail"]["asr"] = 0.01
    # (0.01 - 0.1) / (1 - 0.1) = -0.1.
    assert told(results)["mean"]["highest excess ASR"] == "\N{MINUS SIGN}10%"


def test_the_worst_attack_stands_beside_what_was_changed(study: Maker) -> None:
    row = told(study(mean_drop=0.3))["mean"]
    assert row["which"] == "label-flip"
    assert row["under the worst attack"].startswith("55.0 ±")
    assert row["changed under attack"] == "–"  # a plain mean has no proof to give
    assert row["highest excess ASR"] == "90%"


def test_hiding_in_telemetry_adapts_only_to_who_reads_it(study: Maker) -> None:
    made = study()
    knowing(made, telemetry="mimic")
    for run in made.runs:
        if run.cell.defense == "multi-krum":
            run.resolved["defenses"] = [{"name": "feddetect", "knows": ["history", "side:loss"]}]
    reads, blind = told(made)["multi-krum"], told(made)["mean"]
    assert reads["under an attacker who knows it"].startswith("85.0 ±")
    assert reads["which"] == "–"  # then no attack is static
    assert blind["under an attacker who knows it"] == "not tried"
    assert blind["which"] == "label-flip"


def test_knowing_the_defense_is_adaptive_only_where_the_attack_asks(study: Maker) -> None:
    made = study()
    knowing(made, knows_defense=True)  # label flipping does not ask the defense
    assert told(made)["mean"]["under an attacker who knows it"] == "not tried"
    asking(made, {"name": "sybil", "inner": "mimic"})  # nor does this one
    assert told(made)["mean"]["under an attacker who knows it"] == "not tried"
    asking(made, {"name": "adaptive"})
    assert told(made)["mean"]["under an attacker who knows it"].startswith("55.0 ±")
    knowing(made, knows_defense=False)
    assert told(made)["mean"]["under an attacker who knows it"] == "not tried"


def test_without_a_defense_there_is_no_such_table(study: Maker) -> None:
    (scenario,) = scenarios(study(rules=("mean",)))
    assert not defenses_grid(scenario).rows
    assert "What each defense is worth" not in render(study(rules=("mean",)))


def test_many_defenses_stand_below_each_other(study: Maker) -> None:
    made = study(rules=MANY)
    console = Console(file=io.StringIO(), width=80)
    print_results(made, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("┏") == 1
    assert all(rule in text for rule in MANY)
    said = " ".join(text.split())
    assert "mda and caf 2 of 2, the most; 1 of 9 defenses none of them" in said
    page = render(made)
    assert '<th scope="col">defense</th><th scope="col">none</th>' in page
    assert '<th scope="row">bulyan</th>' in page
    assert "Curves are left out: 9 of them" in page
