"""The scripts in ``examples/`` run, offline, on what they bring along."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from asepsis.core.registry import unregister

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
SEEDS = {"hiding_and_robustness": 1}
LONG = {"assess_federation", "membership_audit"}
OWN = (("attack", "turn-largest"), ("aggregator", "inner-half"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, with no data and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASEPSIS_OFFLINE", "1")
    monkeypatch.setenv("ASEPSIS_CACHE", str(tmp_path))
    monkeypatch.delenv("ASEPSIS_DATA", raising=False)


QUICK = [path for path in SCRIPTS if path.stem not in LONG]


@pytest.mark.parametrize("script", QUICK, ids=lambda path: path.stem)
def test_every_example_runs(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        runpy.run_path(str(script))["main"](seeds=SEEDS.get(script.stem, 2))
    finally:
        for kind, name in OWN:
            unregister(kind, name)
    said = capsys.readouterr().out
    assert len(said.splitlines()) >= 3
    assert "nan" not in said.lower()


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_example_runs_as_a_script(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_there_are_examples_of_what_people_start_with() -> None:
    assert {"first_federation", "own_attack", "own_defense"} <= {path.stem for path in SCRIPTS}
