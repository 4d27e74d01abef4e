"""The job array in ``docs/clusters.md`` does what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cli_command import asepsis

PAGE = Path(__file__).resolve().parents[3] / "docs" / "clusters.md"
STUDY = """
dataset = "breast-cancer"
trainer = { name = "sgd", steps = 1, batch_size = 8 }
federation = { hospitals = 5, rounds = 2 }
threat = { hostile = 1, starts_at = 1 }
[over]
attack = ["none", "ipm"]
defenses = [["mean"], ["median"], ["geometric-median"]]
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="a job array is bash")


def blocks() -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def job_array() -> str:
    [found] = [block for block in blocks() if block.startswith("#!/bin/bash")]
    return found


def words_of(folder: Path, number: int, *given: str, shares: int = 8) -> list[str]:
    """Run the script as SLURM would, with an ``asepsis`` that only writes down its words."""
    told = folder / "asepsis"
    told.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\n')
    told.chmod(0o700)
    script = folder / "sweep.sh"
    script.write_text(job_array().replace("shares=8", f"shares={shares}"))
    environment = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_CPUS_PER_TASK": "1"}
    done = subprocess.run(
        ["bash", str(script), *given], env=environment, capture_output=True, check=True
    )
    return done.stdout.decode().split("\0")[:-1]


def test_the_tasks_of_the_array_are_the_shares_of_the_sweep(tmp_path: Path) -> None:
    study = tmp_path / "a study.toml"
    study.write_text(STUDY)
    first, last = map(int, re.findall(r"--array=(\d+)-(\d+)", job_array())[0])
    asked = [words_of(tmp_path, n, str(study), "out") for n in range(first, last + 1)]
    assert [words[-1] for words in asked] == [f"{n}/{last}" for n in range(1, last + 1)]


def test_the_array_makes_a_whole_sweep(tmp_path: Path) -> None:
    """The page's script for two tasks."""
    study, out = tmp_path / "small.toml", tmp_path / "results"
    study.write_text(STUDY)
    for number in (2, 1):
        words = words_of(tmp_path, number, str(study), str(out), shares=2)
        done = asepsis(*words)
        assert done.code == 0, done.err
    assert len(list((out / "runs").iterdir())) == 6
    assert (out / "report.html").exists()


def test_folders_of_shares_are_merged_as_the_page_says(tmp_path: Path) -> None:
    study = tmp_path / "small.toml"
    study.write_text(STUDY)
    for number in range(1, 9):
        out = tmp_path / "results" / f"mine-{number}"
        words = ["sweep", str(study), "--out", str(out), "--shard", f"{number}/8"]
        assert asepsis(*words).code == 0
    [merge] = [block for block in blocks() if "cp -r" in block]
    copying = merge.replace("asepsis report", "test -d")
    subprocess.run(["bash", "-euc", copying], cwd=tmp_path, check=True, capture_output=True)
    told = asepsis("report", str(tmp_path / "results" / "mine"))
    assert told.code == 0
    assert "Rounds before the attack: 3 played, 3 reused." in told.out


def test_the_script_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        words_of(tmp_path, 1)
    assert b"usage: sbatch sweep.sh STUDY FOLDER" in failed.value.stderr
