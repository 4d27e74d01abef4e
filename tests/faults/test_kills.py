"""At least a hundred seeded kills of a sweep in one process; none loses or doubles anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("kills.py")
KILLS = {"defended": 45, "ledger": 35, "watched": 10, "gan": 15}


def test_a_hundred_are_asked_for() -> None:
    assert sum(KILLS.values()) >= 100


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked from a warm one")
@pytest.mark.parametrize("scenario", KILLS)
def test_after_any_kill_a_sweep_goes_on_bit_equal(tmp_path: Path, scenario: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), scenario, str(KILLS[scenario]), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ASEPSIS_OFFLINE": "1"},
        check=False,
    )
    trials = [json.loads(line) for line in done.stdout.splitlines()]
    assert [trial for trial in trials if trial["wrong"]] == [], done.stderr
    assert done.returncode == 0, done.stderr
    modes = [mode for trial in trials for mode in trial["kills"]]
    assert len(modes) >= KILLS[scenario]
    assert set(modes) == {"time", "touch", "torn"}
