"""A third-party package adds components, proves itself with the public checks, and runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "plugin_package"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package into a folder of its own, as a user would into an environment."""
    source, target = tmp_path_factory.mktemp("source") / "p", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    options = ["--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run([*pip, *options], check=True, capture_output=True)
    return target


def python(site: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_it_is_listed_without_being_imported(site: Path) -> None:
    code = (
        "import json, sys; from asepsis.cli.shelf import shelf;"
        "print(json.dumps(shelf('defenses')));"
        "assert not any(name.startswith('asepsis_plugin') for name in sys.modules)"
    )
    done = python(site, code)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["midpoint"]["origin"] == "asepsis-plugin-example"


def test_it_passes_the_public_checks_and_runs(site: Path) -> None:
    code = """
import asepsis
from asepsis.core.registry import build
from asepsis.testing import check_rule, check_update_attack
check_rule(build("aggregator", "midpoint"))
check_update_attack(build("attack", "mirror"))
results = asepsis.run(
    {
        "dataset": "breast-cancer",
        "federation": {"hospitals": 4, "rounds": 2},
        "threat": {"hostile": 1, "sees": "own"},
        "attack": {"name": "mirror", "factor": 2.0},
        "defenses": ["midpoint"],
    },
    engine="serial",
    jobs=1,
)
print(results.frame()["status"].tolist())
"""
    done = python(site, code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['success', 'success']"


def test_a_plug_in_that_cannot_be_imported_raises_its_own_error(site: Path) -> None:
    done = python(site, "from asepsis.core.registry import build; build('aggregator', 'broken')")
    assert done.returncode == 1
    assert "the example's own missing library" in done.stderr
