"""The quickstart as a newcomer without data and without a network runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Quickstart:
    """What the newcomer sees."""

    out: str
    err: str
    folder: Path
    page: str


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    home = tmp_path_factory.mktemp("quickstart")
    kept = {name: value for name, value in os.environ.items() if name != "ASEPSIS_DATA"}
    alone = {
        "ASEPSIS_OFFLINE": "1",
        "ASEPSIS_CACHE": str(home / "cache"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }
    done = subprocess.run(
        [sys.executable, "-m", "asepsis.cli.main", "run", "quickstart"],
        cwd=home,
        env={**kept, **alone},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = home / done.stdout.splitlines()[-1]
    return Quickstart(done.stdout, done.stderr, report.parent, report.read_text("utf-8"))


def test_it_ends_with_the_path_of_a_small_report(quickstart: Quickstart) -> None:
    assert quickstart.out.splitlines()[-1].startswith("results/quickstart/")
    assert len(quickstart.page.encode()) < 5_000_000


def test_it_says_loudly_and_everywhere_that_the_data_are_synthetic(quickstart: Quickstart) -> None:
    assert "pneumoniamnist could not be had" in quickstart.err
    assert "NOTE" in quickstart.err
    assert "SYNTHETIC" in quickstart.err
    assert "Synthetic data: " in quickstart.out
    loud = quickstart.page.partition("<main>")[0]
    assert "Synthetic data: " in loud
    assert "phantom" in loud


def test_no_table_calls_the_stand_in_by_the_name_of_the_real_data(quickstart: Quickstart) -> None:
    plan = json.loads((quickstart.folder / "study.json").read_text())
    stood_in = [cell for cell in plan["cells"] if cell["spec"]["dataset"]["name"] == "phantom"]
    assert stood_in
    assert all("phantom" in cell["scenario"] for cell in stood_in)


def test_every_run_ended_with_figures(quickstart: Quickstart) -> None:
    footers = [
        json.loads(path.read_text().splitlines()[-1])["result"]
        for path in (quickstart.folder / "runs").glob("*.jsonl")
    ]
    assert len(footers) >= 72
    assert {footer["status"] for footer in footers} <= {"success", "diverged"}


def test_a_clinician_can_read_who_did_what(quickstart: Quickstart) -> None:
    for word in ("label-flip", "badnets", "ipm", "multi-krum", "trimmed-mean", "mean"):
        assert word in quickstart.out
        assert word in quickstart.page
    assert "exploratory" in quickstart.out.lower()
    assert "<svg" in quickstart.page
    assert "data:image/png" in quickstart.page
