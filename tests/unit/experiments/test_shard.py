"""Shares of a sweep: whole groups, every one once, in one folder or in several."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import asepsis
from asepsis.core.errors import ConfigError, StoreError
from asepsis.experiments.cells import grouped
from asepsis.experiments.locks import locked, shared
from asepsis.experiments.plan import Cell, plan_study, study_from
from asepsis.experiments.results import load_results
from asepsis.experiments.saving import Saving, expected, saved_in_all
from asepsis.experiments.shard import Shard
from asepsis.experiments.store import Store, read_record, results_of

TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "trainer": {"name": "sgd", "steps": 1, "batch_size": 8},
    "federation": {"hospitals": 5, "rounds": 4},
    "threat": {"hostile": 1, "starts_at": 2},
    "seeds": [0, 1],
    "over": {"attack": ["none", "ipm", "sign-flip"], "defenses": [["mean"], ["median"]]},
}


def groups(table: dict[str, Any] | None = None) -> list[list[Cell]]:
    return grouped(plan_study(study_from({**(table or TABLE)}, "small")).cells)


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1 /2", "٣/٤"]
)
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--shard"):
        Shard.parse(text)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_every_group_is_in_one_share_and_shares_are_as_even_as_groups_allow(count: int) -> None:
    every = groups({**TABLE, "seeds": list(range(4))})
    shares = [Shard(number, count).of(every) for number in range(1, count + 1)]
    runs = [sum(map(len, share)) for share in shares]
    assert sorted(id(group) for share in shares for group in share) == sorted(map(id, every))
    assert max(runs) - min(runs) <= max(map(len, every))


def test_a_share_is_the_same_in_whatever_order_the_runs_come() -> None:
    def mine(cells: list[Cell]) -> set[str]:
        return {cell.digest for group in Shard(2, 3).of(grouped(cells)) for cell in group}

    cells = [cell for group in groups() for cell in group]
    mixed = random.Random(1).sample(cells, len(cells))
    assert mine(mixed) == mine(cells) != set()


def records(root: Path) -> dict[str, list[str]]:
    return {path.name: results_of(read_record(path)) for path in (root / "runs").iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    asepsis.run(TABLE, out=out, engine="serial")
    return out


def saving(root: Path) -> Saving:
    runs = load_results(root).runs
    return saved_in_all((run.lines, run.cell.spec.threat.starts_at) for run in runs)


def test_shares_in_one_folder_make_the_records_of_the_whole(tmp_path: Path, whole: Path) -> None:
    for number in (3, 1, 2):
        asepsis.run(TABLE, out=tmp_path, engine="serial", shard=f"{number}/3")
    assert records(tmp_path) == records(whole)
    assert saving(tmp_path) == saving(whole)
    assert not [run for run in load_results(tmp_path).runs if not run.ok]


def test_shares_in_folders_of_their_own_are_put_together_by_copying(
    tmp_path: Path, whole: Path
) -> None:
    for number in (1, 2):
        asepsis.run(TABLE, out=tmp_path / f"{number}", engine="serial", shard=f"{number}/2")
        shutil.copytree(tmp_path / f"{number}", tmp_path / "all", dirs_exist_ok=True)
    first, second = (records(tmp_path / name) for name in "12")
    assert not first.keys() & second.keys()
    assert records(tmp_path / "all") == first | second == records(whole)


def test_what_one_division_left_another_finishes(tmp_path: Path, whole: Path) -> None:
    asepsis.run(TABLE, out=tmp_path, engine="serial", shard="2/4")
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    for number in (1, 2):
        asepsis.run(TABLE, out=tmp_path, engine="serial", shard=f"{number}/2")
    assert records(tmp_path) == records(whole)
    assert done
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_rounds_before_the_attack_are_played_once_a_group(whole: Path) -> None:
    cells = [cell for group in groups() for cell in group]
    assert expected(cells) == saving(whole) == Saving(played=4 * 2, reused=8 * 2)


def test_a_ledger_is_of_rounds_really_played(tmp_path: Path) -> None:
    table = {**TABLE, "seeds": [0]}
    table["over"] = {"attack": ["none", "ipm"], "defenses": [["mean", "ledger"]]}
    asepsis.run(table, out=tmp_path, engine="serial")
    cells = [cell for group in groups(table) for cell in group]
    assert expected(cells) == saving(tmp_path) == Saving(played=4, reused=0)


def test_a_run_that_was_stopped_still_knows_what_it_reused(tmp_path: Path) -> None:
    from asepsis.experiments.run import Cancelled, RunOptions, run_experiment

    twin, attacked = groups({**TABLE, "seeds": [0], "over": {"attack": ["none", "ipm"]}})[0]
    store = Store(tmp_path).open()
    run_experiment(twin.spec, store, RunOptions(engine="serial"))
    played: list[int] = []
    stopping = RunOptions(engine="serial", on_round=played.append, stop=lambda: bool(played))
    with pytest.raises(Cancelled):
        run_experiment(attacked.spec, store, stopping)
    lines = run_experiment(attacked.spec, store, RunOptions(engine="serial", resume=True))
    assert played == [3]
    assert saved_in_all([(lines, 2)]) == Saving(played=0, reused=2)


def test_shares_work_beside_each_other_and_not_beside_the_whole(tmp_path: Path) -> None:
    with shared(tmp_path), shared(tmp_path), pytest.raises(StoreError), locked(tmp_path):
        pass
    with locked(tmp_path), pytest.raises(StoreError), shared(tmp_path):
        pass


def test_a_share_needs_a_folder_and_goes_to_no_cluster(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--out DIR"):
        asepsis.run(TABLE, shard="1/2")
    with pytest.raises(ConfigError, match="either a share or a cluster"):
        asepsis.run(TABLE, shard="1/2", cluster="127.0.0.1:6379", out=tmp_path)


def test_a_share_of_another_study_is_refused(tmp_path: Path) -> None:
    asepsis.run(TABLE, out=tmp_path, engine="serial", shard="1/4")
    before = records(tmp_path)
    with pytest.raises(StoreError, match="other settings"):
        asepsis.run({**TABLE, "seeds": [7]}, out=tmp_path, engine="serial", shard="1/4")
    assert records(tmp_path) == before
