"""A clock that goes back, while a run plays or between a run and its resumption."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
from kills import SCENARIOS, differences, left_in

import asepsis
from asepsis.experiments import kept as kept_module
from asepsis.experiments import run as run_module
from asepsis.experiments.plan import plan_study, study_from
from asepsis.experiments.run import Cancelled, RunOptions, run_experiment
from asepsis.experiments.store import Store, read_record


class Backwards:
    """A wall clock that loses an hour whenever somebody looks at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.gmtime = 1.7e9, time.gmtime
        monkeypatch.setattr(time, "time", self.time)
        monkeypatch.setattr(time, "time_ns", lambda: int(self.time() * 1e9))
        monkeypatch.setattr(time, "gmtime", lambda at=None: self.gmtime(at or self.time()))

    def time(self) -> float:
        self.now -= 3600.0
        return self.now


@pytest.mark.parametrize("scenario", ["defended", "ledger"])
def test_results_know_nothing_of_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    asepsis.run(SCENARIOS[scenario], out=tmp_path / "one", engine="serial", jobs=1)
    clock = Backwards(monkeypatch)
    asepsis.run(SCENARIOS[scenario], out=tmp_path / "two", engine="serial", jobs=1)
    assert clock.now < 1.7e9  # somebody looked: records say when they began
    assert differences(left_in(tmp_path / "two"), left_in(tmp_path / "one")) == []


def test_a_run_goes_on_though_its_resumption_is_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints keep coming too: their pace is that of a clock that never goes back."""
    plan = plan_study(study_from(SCENARIOS["ledger"], "ledger"))
    made = plan.cells[-1].spec
    whole = Store(tmp_path / "whole").open()
    run_experiment(made, whole, RunOptions(engine="serial"))
    monkeypatch.setattr(run_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(run_module, "WRITING", math.inf)
    Backwards(monkeypatch)
    store, saved, played = Store(tmp_path / "out").open(), list[int](), list[int]()
    real = kept_module.Kept.save

    def save(kept: kept_module.Kept, state: Any) -> None:
        saved.append(state.round)
        real(kept, state)

    monkeypatch.setattr(kept_module.Kept, "save", save)
    options = RunOptions(
        engine="serial", on_round=played.append, stop=lambda: len(played) == 4, resume=True
    )
    with pytest.raises(Cancelled):
        run_experiment(made, store, options)
    assert saved == [1, 2, 3, 4, 4]
    again: list[int] = []
    run_experiment(made, store, RunOptions(engine="serial", resume=True, on_round=again.append))
    assert again == [5, 6, 7, 8]
    assert differences(left_in(store.root), left_in(whole.root)) == []
    (path,) = (store.root / "runs").iterdir()
    assert read_record(path)[0]["observed"]["started"] < "2023-11-14T22:13:20Z"
