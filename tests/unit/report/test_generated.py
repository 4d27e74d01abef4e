"""What generated images are worth, in tables: every figure under the name of its extractor."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from generator_study import EYES, HOSTILE, TITLE, WATCHER, generators
from report_study import Maker
from rich.console import Console

from asepsis.experiments.results import Results
from asepsis.report.blocking import blocked_grid, honest_grid
from asepsis.report.findings import Scenario, scenarios
from asepsis.report.generated import (
    caption,
    detectors,
    downstream_grid,
    memory_grid,
    of_generators,
    unlabeled,
    worth_grid,
)
from asepsis.report.grids import Grid
from asepsis.report.html import render
from asepsis.report.sentences import caveats
from asepsis.report.terminal import print_results
from asepsis.report.troubled import rounds_text, troubles_grid

Rows = dict[tuple[str, str], dict[str, str]]


def only(results: Results) -> Scenario:
    (scenario,) = scenarios(results)
    return scenario


def texts(grid: Grid) -> Rows:
    """The grid's text by attack and defense, and head."""
    return {
        (row[0].text, row[1].text): {
            h: c.text for h, c in zip(grid.heads[2:], row[2:], strict=True)
        }
        for row in grid.rows
    }


def printed(results: Results, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_results(results, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


ATTACKED, DEFENDED = ("trigger-images", "mean"), ("trigger-images", "feddetect")
CLEAN = ("none", "mean")


def test_distances_stand_beside_their_floor_and_their_interval() -> None:
    row = texts(worth_grid(only(generators())))
    distance = "kernel distance (real from real)"
    # Seeds jitter by -0.01, 0, 0.01: t(0.975, 2) * 0.01 / sqrt(3) = 0.0248.
    assert row[ATTACKED][distance] == "1.600 ±0.025 (0.0020)"
    assert row[CLEAN][distance] == "0.400 ±0.025 (0.0020)"
    assert row[ATTACKED]["its change to the twin"].startswith("+1.200")
    assert row[CLEAN]["its change to the twin"] == "–"
    assert "(3.5" in row[ATTACKED]["Fréchet distance (real from real)"]


def test_images_that_no_federation_made_come_first() -> None:
    grid = worth_grid(only(generators()))
    assert [row[0].text for row in grid.rows[:2]] == [
        "before any training",
        "normal, without network",
    ]
    row = texts(grid)["before any training", "–"]
    # The four cells of a seed share it: three values, not twelve.
    assert row["kernel distance (real from real)"] == "5.000 ±0.025 (0.0020)"
    assert row["Fréchet distance (real from real)"] == "1234 ±0 (3.500)"
    assert row["trigger in generated images (%)"] == "–"
    assert texts(grid)["normal, without network", "–"]["diversity"] == "0.90 ±0.00"
    assert "before any training " in printed(generators())


def test_a_page_has_the_second_distance_and_raw_rates_in_a_table_of_their_own() -> None:
    page = render(generators())
    worth, _, more = page.partition("and trigger rates with false alarms")
    assert "kernel distance (real from real)</button>" in worth
    for head in ("Fréchet distance (real from real)", "raw trigger rate (false alarms) (%)"):
        assert f"{head}</button>" not in worth
        assert f"{head}</button>" in more


def test_figures_that_all_runs_of_a_seed_share_survive_one_that_failed() -> None:
    """The figures stand in the first run of the seed that has them."""
    whole = generators()
    lost = generators()
    for run in lost.runs[-3:]:
        run.lines[-1] = {"type": "footer", "result": {"status": "error", "message": "no memory"}}
    for grid in (worth_grid, memory_grid):
        untouched = [[c.text for c in row] for row in grid(only(whole)).rows if not row[0].order]
        assert untouched
        assert [
            [c.text for c in row] for row in grid(only(lost)).rows if not row[0].order
        ] == untouched


def test_trigger_rates_are_net_and_the_twins_stand_beside_them() -> None:
    row = texts(worth_grid(only(generators())))
    assert row[ATTACKED]["trigger in generated images (%)"] == "90.0 ±0.0"
    assert row[ATTACKED]["in the twin's (%)"] == "1.0 ±0.0"
    assert row[ATTACKED]["raw trigger rate (false alarms) (%)"] == "93.0 ±0.0 (3.0)"
    assert row[CLEAN]["trigger in generated images (%)"] == "–"


def blind_study(*names: str) -> Results:
    results = generators()
    for run in results.runs:
        terms = run.footer["generator"]
        terms["detectors"] = {name: f"a detector (finds {name} never)" for name in names}
        terms["blind"] = list(names)
        for figures in (run.footer["tail"], run.footer["last"]):
            figures |= {name: math.nan for name in figures if name in names}
    return results


def test_where_no_detector_works_there_is_no_rate_and_the_reason_is_said() -> None:
    results = blind_study("asr")
    grid = worth_grid(only(results))
    column = grid.heads.index("trigger in generated images (%)")
    [cell] = [row[column] for row in grid.rows if (row[0].text, row[1].text) == ATTACKED]
    assert (cell.text, cell.hint) == (
        "–",
        "the attack's own trigger: a detector (finds asr never)",
    )
    for text in (render(results), " ".join(printed(results).split())):
        assert "finds asr never" in text


def test_every_detector_that_fails_is_named() -> None:
    results = blind_study("asr", "floor/patch")
    said = detectors(only(results))
    assert said == (
        "No rate, since no detector works: the attack's own trigger: a detector (finds asr never); "
        "patch: a detector (finds floor/patch never)"
    )
    assert "likewise" not in said
    assert "likewise" not in detectors(only(generators()))


def test_real_images_stand_first_where_copies_are_counted() -> None:
    grid = memory_grid(only(generators()))
    assert grid.rows[0][0].text == "real images nobody trained on"
    first = texts(grid)["real images nobody trained on", "–"]
    assert first["nearest-neighbor distance ratio"] == "0.99 ±0.00"
    assert first["ratio in pixels"] == "–"
    assert texts(grid)[ATTACKED]["nearest-neighbor distance ratio"] == "0.97 ±0.00"
    assert not any("floor" in head for head in grid.heads)


def test_diversity_within_classes_stands_beside_that_of_all() -> None:
    row = texts(worth_grid(only(generators())))
    assert row[ATTACKED]["least within a class"] == "0.04 ±0.00"


def test_a_collapsed_generator_says_so_in_its_cell() -> None:
    grid = worth_grid(only(generators()))
    cells = {(row[0].text, row[1].text): row[grid.heads.index("diversity")] for row in grid.rows}
    assert cells[ATTACKED].text == "0.05 ±0.00, collapsed 3/3"
    assert cells[ATTACKED].tone == "bad"
    assert cells[DEFENDED].tone == ""


def test_the_caption_names_the_extractor_and_the_number_of_images() -> None:
    results = generators(seeds=(0,))
    said = caption(only(results))
    assert said == (
        f"Distances in the features of: {EYES}, balanced accuracy 0.80 on 100 held-out real "
        "images; 120 real against 120 generated images"
    )
    assert said in render(results)
    text = " ".join(printed(results).split())
    assert said in text
    assert WATCHER in text
    assert "first seed; 3 were trained" in caption(only(generators()))


def test_no_page_names_a_distance_by_the_abbreviation_of_a_fixed_extractor() -> None:
    for text in (render(generators()), printed(generators())):
        assert "FID" not in text
        assert "KID" not in text


def test_classifiers_are_compared_by_what_they_were_trained_on() -> None:
    row = texts(downstream_grid(only(generators())))
    assert row[CLEAN]["AUROC, real (%)"] == "90.0 ±2.5"
    assert row[CLEAN]["AUROC, synthetic (%)"] == "70.0 ±2.5"
    assert row[ATTACKED]["balanced accuracy, both (%)"] == "77.0 ±2.5"
    # The gain is paired: the jitter of the seeds is the same on both sides.
    assert row[CLEAN]["AUROC gained by adding them"] == "+2.0 ±0.0"
    assert row[ATTACKED]["AUROC gained by adding them"] == "−3.0 ±0.0"
    assert unlabeled(only(generators())) == []


def test_without_classes_there_is_no_classifier_and_the_reason_is_said() -> None:
    results = generators(conditional=False)
    assert downstream_grid(only(results)).rows == []
    [reason] = unlabeled(only(results))
    assert reason.startswith("n/a: this generator knows no classes")
    assert reason.split(",")[0] in render(results)
    assert "knows no classes" in printed(results)


def test_where_only_some_generators_have_classes_the_others_have_na() -> None:
    results = generators()
    without = generators(conditional=False)
    kept = [run for run in without.runs if run.cell.defense == "feddetect"]
    mixed = [run for run in results.runs if run.cell.defense == "mean"] + kept
    scenario = only(Results(results.study, mixed))
    row = texts(downstream_grid(scenario))
    assert set(row[DEFENDED].values()) == {"n/a"}
    assert row[ATTACKED]["AUROC, real (%)"] == "90.0 ±2.5"
    [reason] = unlabeled(scenario)
    assert "trigger-images / feddetect" in reason
    assert "/ mean" not in reason


def test_copies_are_told_in_features_and_in_pixels() -> None:
    row = texts(memory_grid(only(generators())))[CLEAN]
    assert row["nearest-neighbor distance ratio"] == "0.97 ±0.00"
    assert row["suspiciously near a training image (%)"] == "6.0 ±0.0"
    assert row["suspiciously near in pixels (%)"] == "5.0 ±0.0"


def test_who_was_blocked_is_said_with_stage_round_and_reason() -> None:
    grid = blocked_grid(only(generators()))
    rows = [dict(zip(grid.heads, [c.text for c in row], strict=True)) for row in grid.rows]
    assert rows == [
        {
            "attack": "trigger-images",
            "defense": "feddetect",
            "blocked": "east",
            "who is": "hostile",
            "by": "feddetect",
            "from round": "7 to 9",
            "in runs": "3 of 3",
            "lets through (%)": "0.1",
            "why": "its reported loss stood out",
        }
    ]
    told = "east (hostile) by feddetect from round 7 to 9 on, 3 of 3 runs: its reported loss"
    assert told in printed(generators(), 160)


def test_a_judge_that_blocks_nobody_is_said_to() -> None:
    grid = blocked_grid(only(generators(blocked=[])))
    assert [row[2].text for row in grid.rows] == ["nobody"]
    assert "trigger-images / feddetect: nobody" in printed(generators(blocked=[]))


def test_a_blocked_honest_hospital_stands_out() -> None:
    wrong = {"stage": "feddetect", "hospital": 2, "round": 8, "share": 0.0, "reason": "x"}
    scenario = only(generators(blocked=[wrong]))
    grid = blocked_grid(scenario)
    assert {(row[2].text, row[3].text, row[3].tone) for row in grid.rows} == {
        ("south", "honest", "bad")
    }
    # Every run of this study has it, those without an attack too.
    row = dict(
        zip(
            honest_grid(scenario).heads,
            [c.text for c in honest_grid(scenario).rows[0]],
            strict=True,
        )
    )
    assert row["honest blocked, no attack"] == "3 of 12"
    assert row["honest blocked, under attack"] == "3 of 9"
    assert row["hostile blocked"] == "0 of 3"


def test_the_benign_false_positive_rate_counts_judged_rounds_alone() -> None:
    grid = honest_grid(only(generators()))
    [row] = grid.rows  # a mean judges nobody
    told = dict(zip(grid.heads, [cell.text for cell in row], strict=True))
    # Nine of twelve rounds are judged in each of three runs; in one of them south is penalized.
    assert told["benign rounds judged"] == "27"
    assert told["benign false positive rate (% of them)"] == "11.1 ±0.0"
    assert told["attacked rounds with somebody honest penalized (%)"] == "11.1 ±0.0"
    assert told["hostile blocked"] == "3 of 3"
    assert told["from round"] == "7 to 9"


@pytest.mark.parametrize(
    ("rounds", "text"),
    [
        ([11, 12, 13], "in rounds 12 to 14"),
        ([6], "in round 7"),
        ([3, 1], "in rounds 2 and 4"),
        ([0, 1, 7, 8, 9], "in rounds 1, 2 and 8 to 10"),
        ([], "in no round that is known"),
    ],
)
def test_rounds_are_counted_from_one(rounds: list[int], text: str) -> None:
    assert rounds_text(rounds) == text


TROUBLES: list[dict[str, Any]] = [
    {"what": "loss is no number", "hospital": 3, "rounds": [6]},
    {"what": "began afresh", "hospital": 0, "rounds": [7]},
    {"what": "diverged hospital", "hospital": 9, "rounds": [2, 3]},
    {"what": "lost its way", "hospital": None, "rounds": [1]},
]


def test_no_trouble_is_dropped() -> None:
    results = generators(troubles=TROUBLES)
    said = [
        "west's loss is no number in round 7",
        "north began afresh in round 8",
        "hospital 9 diverged in rounds 3 and 4",
        "lost its way in round 2",
    ]
    grid = troubles_grid(only(results))
    assert len(grid.rows) == len(results.runs) * len(TROUBLES)
    assert {row[3].text for row in grid.rows} == set(said)
    page, shown = render(results), printed(results)
    for text in said:
        assert text.replace("'", "&#39;") in page
        assert shown.count(text) == len(results.runs)


def test_troubles_are_loud_notes_that_say_how_many_runs_had_them() -> None:
    [note] = [n for n in caveats(generators()) if n.text.startswith("Mode collapse")]
    assert note.loud
    assert note.text == (
        f"Mode collapse in 3 of 12 runs ({TITLE}): "
        "trigger-images / mean (3 seeds, from round 9 on)."
    )
    [single] = [n for n in caveats(generators(seeds=(0,))) if n.text.startswith("Mode collapse")]
    assert "trigger-images / mean (in rounds 9 to 12)" in single.text


def test_other_studies_say_nothing_of_generators(study: Maker) -> None:
    results = study()
    for run in results.runs:
        run.footer["troubles"] = TROUBLES
        run.footer["blocked"] = [{"stage": "s", "hospital": 0, "round": 1, "share": 0}]
    before = study()
    assert not of_generators(only(results))
    assert render(results) == render(before)
    assert printed(results) == printed(before)


def test_what_a_record_says_is_escaped() -> None:
    bad = "<script>alert(1)</script>"
    terms = {"extractor": bad, "detectors": {"asr": bad}, "images": 5, "conditional": True}
    block = {"stage": bad, "hospital": HOSTILE, "round": 3, "share": 0.0, "reason": bad}
    trouble = {"what": bad, "hospital": 1, "rounds": [1]}
    page = render(generators(generator=terms, blocked=[block], troubles=[trouble]))
    assert bad not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in printed(generators(generator={**terms, "extractor": "a\x1b[31m"}))


def test_a_run_without_figures_leaves_the_others_alone() -> None:
    results = generators()
    broken = results.runs[-1]
    broken.lines[-1]["result"] = {"status": "error", "message": "out of memory"}
    row = texts(worth_grid(only(results)))
    assert "±" in row[DEFENDED]["kernel distance (real from real)"]
    assert "1 run of 12 ended without figures" in printed(results)
