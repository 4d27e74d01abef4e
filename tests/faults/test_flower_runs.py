"""`--engine flower` as a user has it: quiet, stopped at once, gone on with, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sockets import listening
from test_deploy_keeper import alive, soon

from asepsis.deploy.keeper import below
from asepsis.experiments.plan import plan_study, study_from
from asepsis.experiments.store import Store, read_record, results_of, rounds_of
from asepsis.experiments.sweep import run_plan
from asepsis.report.toml_text import study_toml

pytest.importorskip("flwr")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc"),
]
ROUNDS = 80
STUDY = study_from(
    {
        "name": "on-flower",
        "dataset": "breast-cancer",
        "model": "logistic",
        "trainer": {"name": "sgd", "steps": 1, "batch_size": 16},
        "federation": {"hospitals": 4, "rounds": ROUNDS},
        "threat": {"hostile": 1, "starts_at": 2},
        "attack": "sign-flip",
        "defenses": ["median"],
    },
    "on-flower",
)
LEAVING = 20.0
"""Seconds to leave after Ctrl-C, and for processes to be gone: on a free machine less than two."""


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "study.toml").write_text(study_toml(STUDY))
    command = [sys.executable, "-m", "asepsis.cli.main", "run", "study.toml", "--out", "results"]
    return subprocess.Popen(
        [*command, "--engine", "flower", "--jobs", "2", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def records(folder: Path) -> dict[str, list[str]]:
    found = sorted((folder / "runs").glob("*.jsonl"))
    return {path.name: results_of(read_record(path)) for path in found}


def played(folder: Path) -> int:
    return sum(len(rounds_of(read_record(path))) for path in (folder / "runs").glob("*.jsonl"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    store = Store(tmp_path_factory.mktemp("serial")).open()
    run_plan(plan_study(STUDY), store, jobs=1, engine="serial")
    return records(store.root)


@pytest.mark.parametrize("after", [3, ROUNDS + 3], ids=["in the twin", "in the attack"])
def test_ctrl_c_ends_at_once_with_a_checkpoint_and_resuming_is_bit_equal(
    tmp_path: Path, whole: dict[str, list[str]], after: int
) -> None:
    process = started(tmp_path)
    results = tmp_path / "results"
    assert soon(lambda: played(results) >= after, 240)
    everyone = below(process.pid)
    assert everyone
    assert not listening({*everyone, process.pid})
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LEAVING)
    assert process.returncode == 130, out
    assert time.monotonic() - began < LEAVING
    assert soon(lambda: not any(alive(pid) for pid in everyone), LEAVING)
    assert list((results / "checkpoints").iterdir())
    assert "--resume" in out
    assert not any(noise in out for noise in NOISE), out
    so_far = played(results)
    again = started(tmp_path, "--resume")
    out, _ = again.communicate(timeout=300)
    assert again.returncode == 0, out
    assert not any(noise in out for noise in NOISE), out
    assert so_far >= after
    assert records(results) == whole


NOISE = ("Traceback", "INFO", "WARNING", "DEBUG", "flwr", "Error")


def test_runs_of_a_sweep_go_one_after_another_on_the_workers_asked_for(
    tmp_path: Path, whole: dict[str, list[str]]
) -> None:
    store = Store(tmp_path).open()
    most: list[int] = []
    run_plan(
        plan_study(STUDY),
        store,
        jobs=2,
        engine="flower",
        listener=lambda _: most.append(len(below(os.getpid()))),
    )
    assert records(store.root) == whole
    spawns_trackers = 1  # multiprocessing's own
    assert 2 <= max(most) <= 2 + spawns_trackers
