"""Coverage-guided fuzzing of every target, where atheris is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from targets import TARGETS

SECONDS = 5


@pytest.mark.slow
def test_nothing_is_found(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    script = Path(__file__).with_name("atheris_run.py")
    done = subprocess.run(
        [sys.executable, str(script), "all", str(SECONDS), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.count("stat::number_of_executed_units") == len(TARGETS), done.stderr[-2000:]
    assert done.returncode == 0, done.stdout[-2000:]
    assert not list(tmp_path.iterdir()), "inputs that took too long"
