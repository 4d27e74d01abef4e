"""What somebody else's observer does in a whole run: it is stored, or the run says who failed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch

import asepsis
from asepsis.core.registry import register, unregister
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ServerView
from asepsis.core.updates import State
from asepsis.experiments import run as run_module
from asepsis.experiments.run import Cancelled, RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Line, Store, read_record, read_tensors, results_of

TABLE: dict[str, Any] = {
    "dataset": {"name": "phantom", "n": 120},
    "partition": "iid",
    "model": "lenet",
    "trainer": {"name": "sgd", "steps": 1, "batch_size": 4},
    "federation": {"hospitals": 4, "rounds": 3},
    "candidates": {"members": 3},
}


@dataclass(frozen=True)
class Guest:
    """An observer that is not ours.

    Source: ours

    Fidelity: own
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    does: Literal["remembers", "claims"] = "remembers"

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        if self.does == "claims":
            scores = torch.zeros(1 if view.facts.round else len(view.candidates or ()))
            return state, Evidence("membership", {"scores": scores})
        twice = view.sent[:4].requires_grad_()
        return {"one": twice, "two": twice, "part": view.sent[1:3]}, None


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    register("attack", "guest")(Guest)
    yield
    unregister("attack", "guest")


def spec(**changes: Any) -> Experiment:
    made: Experiment = parse(Experiment, {**TABLE, **changes})
    return made


def run(made: Experiment, store: Store | None = None, **options: Any) -> list[Line]:
    return run_experiment(made, store, RunOptions(engine="serial", **options))


def test_a_memory_with_two_names_for_one_tensor_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(run_module, "WRITING", math.inf)
    made, rounds = spec(observe=["guest"]), list[int]()
    store = Store(tmp_path).open()
    with pytest.raises(Cancelled):
        run(made, store, on_round=rounds.append, stop=lambda: len(rounds) == 2)
    assert results_of(run(made, store, resume=True)) == results_of(run(made))


def test_a_claim_that_cannot_be_scored_is_a_failed_run(tmp_path: Path) -> None:
    asepsis.run({**TABLE, "observe": [{"name": "guest", "does": "claims"}]}, out=str(tmp_path))
    [record] = (tmp_path / "runs").iterdir()
    footer = read_record(record)[-1]["result"]
    assert footer["status"] == "error"
    assert "observer guest (does=claims): 'scores' has the wrong shape" in footer["message"]
    assert len(read_record(record)) == 3


def test_pictures_of_shared_rounds_are_there_for_every_run(tmp_path: Path) -> None:
    store = Store(tmp_path).open()
    watcher = {"name": "dlg", "iterations": 2, "when": {"every": 1}}
    threat = {"hostile": 1, "starts_at": 2}
    cells = [
        spec(observe=["guest", watcher], threat=threat, attack=attack)
        for attack in (None, "sign-flip", "ipm")
    ]
    for cell in cells:
        run(cell, store)
    for cell in cells:
        paths = [store.artifact(cell.digest(), round_, 1) for round_ in range(3)]
        assert all(path.exists() for path in paths)
    first, second = (read_tensors(store.artifact(cell.digest(), 0, 1)) for cell in cells[:2])
    assert first is not None
    assert second is not None
    assert torch.equal(first["guess"], second["guess"])
