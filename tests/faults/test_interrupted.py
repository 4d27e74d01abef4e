"""What a process that ends at a bad moment leaves behind, one moment a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asepsis.api import execute, prepare
from asepsis.core.errors import StoreError
from asepsis.experiments import identity as identity_module
from asepsis.experiments import kept as kept_module
from asepsis.experiments import run as run_module
from asepsis.experiments.identity import identity
from asepsis.experiments.plan import Plan, plan_study, study_from
from asepsis.experiments.run import Cancelled, RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import (
    Record,
    Store,
    read_record,
    read_tensors,
    results_of,
    rounds_of,
    write_tensors,
)

ROUNDS, STARTS = 6, 2
TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "trainer": {"name": "sgd", "steps": 1, "batch_size": 16},
    "federation": {"hospitals": 5, "rounds": ROUNDS},
    "threat": {"hostile": 1, "starts_at": STARTS},
    "attack": "ipm",
    "defenses": ["krum"],
}


def spec(**changes: Any) -> Experiment:
    made: Experiment = parse(Experiment, {**TABLE, **changes})
    return made


def serial(**options: Any) -> RunOptions:
    return RunOptions(engine="serial", **options)


def results(lines: list[Any]) -> list[str]:
    return results_of([lines[0], *rounds_of(lines), lines[-1]])


@pytest.fixture(scope="module")
def whole() -> list[str]:
    return results(run_experiment(spec(), None, serial()))


@pytest.mark.parametrize("what", ["round_line", "summarize"])
def test_ctrl_c_while_a_round_is_scored_loses_that_round_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: list[str], what: str
) -> None:
    """The model has moved on by then, and the record has not."""
    store, calls = Store(tmp_path).open(), list[int]()
    real = getattr(run_module, what)

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if what == "summarize" or len(calls) == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(run_module, what, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(spec(), store, serial())
    monkeypatch.setattr(run_module, what, real)
    again: list[int] = []
    lines = run_experiment(spec(), store, serial(resume=True, on_round=again.append))
    assert again == ([5, 6] if what == "round_line" else [])
    assert results(lines) == whole
    assert results(read_record(store.record(identity(spec(), "serial")))) == whole


def test_ctrl_c_in_the_middle_of_a_line_damages_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: list[str]
) -> None:
    store, real, calls = Store(tmp_path).open(), Record.append, list[int]()

    def torn(record: Record, line: Any) -> None:
        calls.append(1)
        real(record, line)
        if len(calls) == 4:
            assert record.path is not None
            record.path.write_bytes(record.path.read_bytes()[:-30])
            raise KeyboardInterrupt

    monkeypatch.setattr(Record, "append", torn)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(spec(), store, serial())
    monkeypatch.setattr(Record, "append", real)
    path = store.record(identity(spec(), "serial"))
    assert read_record(path)[-1]["result"] == {"status": "cancelled"}
    assert results(run_experiment(spec(), store, serial(resume=True))) == whole
    assert results(read_record(path)) == whole


def test_a_kill_between_the_end_and_the_clearing_up_leaves_no_checkpoint_for_ever(
    tmp_path: Path,
) -> None:
    store, name = Store(tmp_path).open(), identity(spec(), "serial")
    stopped: list[int] = []
    with pytest.raises(Cancelled):
        run_experiment(
            spec(), store, serial(on_round=stopped.append, stop=lambda: len(stopped) == 4)
        )
    kept = store.checkpoint(name).read_bytes()
    run_experiment(spec(), store, serial(resume=True))
    store.checkpoint(name).write_bytes(kept)  # as a kill just before its removal leaves it
    again: list[int] = []
    run_experiment(spec(), store, serial(resume=True, on_round=again.append))
    assert again == []
    assert not store.checkpoint(name).exists()


def test_a_new_prefix_is_never_mixed_with_the_state_of_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the record of new code, and before its state: the old state must be gone."""
    store = Store(tmp_path).open()
    run_experiment(spec(attack=None), store, serial())
    for module in (run_module, identity_module):
        monkeypatch.setattr(module, "code_version", lambda: "another")
    [state] = (tmp_path / "prefixes").glob("*.safetensors")
    old = read_tensors(state)
    assert old is not None
    write_tensors(state, {**old, "row": old["row"] + 1})  # the old code ended elsewhere
    real = write_tensors

    def killed(path: Path, *rest: Any) -> None:
        if path.parent.name == "prefixes":
            raise SystemExit
        real(path, *rest)

    monkeypatch.setattr(kept_module, "write_tensors", killed)
    with pytest.raises(SystemExit):
        run_experiment(spec(attack=None), store, serial())
    monkeypatch.setattr(kept_module, "write_tensors", real)
    shared = run_experiment(spec(), store, serial())
    assert results(shared) == results(run_experiment(spec(), None, serial()))


def test_tidying_removes_what_dead_processes_left_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path).open()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = [
        tmp_path / f".study.json.{dead.pid}.part",
        tmp_path / "runs" / f".a.jsonl.{dead.pid}.part",
        tmp_path / "traces" / "abc" / f".0.safetensors.{dead.pid}.part",
        tmp_path / "checkpoints" / f".a.safetensors.{os.getpid()}.part",
    ]
    alive = tmp_path / f".report.html.{os.getppid()}.part"
    foreign = [
        tmp_path / "film.mp4.part",
        tmp_path / "downloads" / f".x.{dead.pid}.part",
        tmp_path / "runs" / ".hidden.part",
    ]
    for path in (*mine, alive, *foreign):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    store.tidy()
    assert [path.exists() for path in mine] == [False] * 4
    assert [path.exists() for path in (alive, *foreign)] == [True] * 4


def planned(**changes: Any) -> Plan:
    return plan_study(study_from({**TABLE, **changes}, "small"))


@pytest.mark.parametrize("second", [{}, {"attack": "sign-flip"}])
def test_who_prepared_while_another_ran_is_refused_too(
    tmp_path: Path, second: dict[str, Any]
) -> None:
    """Both found an empty folder; one has filled it by the time the other begins."""
    out, how = tmp_path / "out", serial()
    one, two = planned(), planned(**second)
    first, late = prepare(one, out, how), prepare(two, out, how)
    execute(one, first, how)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="already holds results"):
        execute(two, late, how)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
