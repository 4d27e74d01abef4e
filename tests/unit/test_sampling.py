"""Slow tests have a budget a file; what is beyond it rotates, and is said to be left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
FILE = """
import time, pytest
@pytest.mark.parametrize("n", range(8))
def test_one(n):
    time.sleep({})
"""


def played(folder: Path, *options: str) -> tuple[set[str], str]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "sampling",
            "-v",
            "-p",
            "no:cacheprovider",
            *options,
        ],
        cwd=folder,
        env={"PYTHONPATH": str(SCRIPTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if "PASSED" in line]
    return {line.split()[0] for line in lines}, done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_slow.py").write_text(FILE.format(0.12))
    (tmp_path / "test_fast.py").write_text(FILE.format(0))
    return tmp_path


def test_a_file_stops_at_its_budget_and_the_other_does_not(folder: Path) -> None:
    passed, told = played(folder, "--budget", "0.3", "--rotation", "1")
    slow = {name for name in passed if "slow" in name}
    assert len(passed - slow) == 8
    assert 1 <= len(slow) < 8
    assert "another day's turn" in told
    assert "--rotation 1" in told


def test_other_days_play_other_tests_and_a_day_is_played_again(folder: Path) -> None:
    def order(rotation: str) -> list[str]:
        told = played(folder, "--budget", "9", "--rotation", rotation)[1]
        return [line.split()[0] for line in told.splitlines() if "PASSED" in line]

    first, again, other = order("1"), order("1"), order("2")
    assert first == again != other
    assert sorted(first) == sorted(other)


def test_without_a_budget_nothing_is_left_out_or_moved(folder: Path) -> None:
    passed, told = played(folder)
    assert len(passed) == 16
    assert "sampling" not in told


def test_none_begins_when_the_time_is_over(folder: Path) -> None:
    passed, told = played(folder, "--until", "0")
    assert passed == set()
    assert "the time is over" in told
