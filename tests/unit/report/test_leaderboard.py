"""Defenses ranked by their worst case: what shares a table, who is ranked, and who is not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from report_study import make

from asepsis.experiments.folders import Found
from asepsis.experiments.plan import Cell
from asepsis.experiments.results import Results, Run
from asepsis.report.leaderboard import NOT_TRIED, Entry, Table, grid, leaderboard


def found(*results: Results) -> list[Found]:
    return [Found(Path(f"folder-{number}"), item) for number, item in enumerate(results)]


def one(tables: list[Table]) -> Table:
    (table,) = tables
    return table


def by_name(table: Table) -> dict[str, Entry]:
    return {entry.defense: entry for entry in table.entries}


def test_the_worst_case_ranks_and_not_the_mean() -> None:
    table = one(leaderboard(found(make(seeds=tuple(range(5)), mean_drop=0.3))))
    assert [(entry.rank, entry.defense) for entry in table.entries] == [
        (1, "multi-krum"),
        (2, "mean"),
    ]
    mean = by_name(table)["mean"]
    assert mean.attack == "label-flip"
    # jitters of seeds 0 to 4 are -0.01, 0, 0.01, -0.01, 0, and the flip has them twice
    assert mean.worst.mean == pytest.approx(0.55 + 2 * -0.01 / 5)
    assert mean.clean.mean == pytest.approx(0.85 - 0.01 / 5)
    assert mean.excess == pytest.approx((0.908 - 0.1) / 0.9, abs=1e-3)
    assert not mean.exploratory


def test_intervals_that_overlap_share_a_rank_and_say_so() -> None:
    table = one(leaderboard(found(make(mean_drop=0.01))))
    assert [entry.rank for entry in table.entries] == [1, 1]
    assert by_name(table)["mean"].ties == ("multi-krum",)
    assert "interval overlaps with multi-krum; exploratory" in [
        row[-1].text for row in grid(table).rows
    ]


def test_a_figure_of_the_attackers_success_is_better_when_lower() -> None:
    table = one(leaderboard(found(make()), "excess"))
    assert [entry.defense for entry in table.entries] == ["multi-krum", "mean"]
    assert table.entries[0].worst.mean == pytest.approx(0.0)
    assert table.attacks == ("badnets",)


def test_an_adaptive_row_that_is_not_there_is_said() -> None:
    rows = grid(one(leaderboard(found(make())))).rows
    assert {row[5].text for row in rows} == {NOT_TRIED}


def test_other_protocols_have_tables_of_their_own() -> None:
    tables = leaderboard(found(make(), make(dataset="other")))
    assert len(tables) == 2
    assert tables[0].protocol != tables[1].protocol


def test_the_same_words_over_other_data_have_tables_of_their_own() -> None:
    other = make()
    for run in other.runs:
        run.resolved["protocol"] = "efgh"
    assert [table.folders for table in leaderboard(found(make(), other))] == [
        ("folder-0",),
        ("folder-1",),
    ]


def test_seeds_that_do_not_meet_are_not_ranked_together() -> None:
    assert len(leaderboard(found(make(seeds=(0, 1, 2)), make(seeds=(3, 4, 5))))) == 2


def test_folders_of_one_protocol_share_a_table() -> None:
    table = one(leaderboard(found(make(rules=("mean",)), make(rules=("median",)))))
    assert table.folders == ("folder-0", "folder-1")
    assert {entry.defense for entry in table.entries} == {"mean", "median"}


def test_who_faced_fewer_attacks_is_not_ranked() -> None:
    easy = make(rules=("median",))
    easy.runs[:] = [run for run in easy.runs if run.cell.attack != "label-flip"]
    entry = by_name(one(leaderboard(found(make(), easy))))["median"]
    assert entry.rank == 0
    assert entry.reason == "no figures against 1 of 2 attacks"
    chosen = one(leaderboard(found(make(), easy), attacks=["badnets"]))
    assert all(entry.rank for entry in chosen.entries)


def test_a_failed_cell_is_no_way_up() -> None:
    table = one(leaderboard(found(make(broken="no memory"))))
    assert by_name(table)["multi-krum"].reason == "no figures against 1 of 2 attacks"
    assert by_name(table)["mean"].rank == 1


def test_one_seed_has_no_interval_and_no_rank() -> None:
    table = one(leaderboard(found(make(seeds=(0,)))))
    assert {entry.reason for entry in table.entries} == {"one seed, so no interval"}
    assert all(entry.exploratory for entry in table.entries)


def test_two_seeds_have_an_interval_and_no_rank() -> None:
    two, three = (one(leaderboard(found(make(seeds=tuple(range(n)))))) for n in (2, 3))
    assert {entry.reason for entry in two.entries} == {"2 seeds, a rank needs 3"}
    assert not any(entry.rank for entry in two.entries)
    assert all(entry.rank for entry in three.entries)


def test_an_untrained_stack_is_not_ranked() -> None:
    results = make()
    for run in results.runs:
        if run.cell.attack == "none" and run.cell.defense == "mean":
            run.footer["tail"]["balanced_accuracy"] = 0.5
    assert by_name(one(leaderboard(found(results))))["mean"].reason == "undertrained"


def test_an_oracle_is_not_ranked_and_sets_no_bar() -> None:
    results = make(rules=("mean", "multi-krum"))
    told: list[Run] = []
    for run in results.runs:
        if run.cell.defense == "multi-krum":
            stack: Any = ({"name": "exclude", "hospitals": [0]}, {"name": "mean"})
            spec = run.cell.spec.model_copy(update={"defenses": stack})
            cell = Cell("chest X-rays", run.cell.attack, "exclude + mean", run.cell.seed, spec)
            run.resolved["hostile"] = [0] if spec.attack else []
            told.append(Run(cell, run.lines))
    results.runs[:] = [run for run in results.runs if run.cell.defense == "mean"] + told
    table = one(leaderboard(found(results)))
    oracle = next(entry for entry in table.entries if entry.defense.startswith("exclude"))
    assert oracle.rank == 0
    assert oracle.reason.startswith("oracle")
    assert by_name(table)["mean"].rank == 1
    assert table.entries[-1] is oracle


def test_what_cannot_be_read_is_no_table() -> None:
    assert leaderboard([Found(Path("broken"), None, "damaged")]) == []


def test_a_study_that_calls_itself_exploratory_is_marked() -> None:
    results = make(seeds=tuple(range(5)))
    study = results.study.model_copy(update={"exploratory": True})
    marked = Results(study, results.runs)
    assert all(entry.exploratory for entry in one(leaderboard(found(marked))).entries)


def test_cost_is_the_mean_over_all_cells_of_a_stack() -> None:
    entry = one(leaderboard(found(make()))).entries[0]
    assert entry.seconds == pytest.approx(0.75)
    assert entry.server_seconds == pytest.approx(0.25)
    assert math.isfinite(entry.excess)
