"""``asepsis export`` from a shell: files, their names, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import asepsis
from asepsis.cli.main import app
from asepsis.core.errors import AsepsisError
from asepsis.experiments.purge import plan_purge

STUDY = {
    "name": "tiny",
    "dataset": {"name": "phantom", "n": 120},
    "federation": {"hospitals": 3, "rounds": 2},
    "trainer": {"name": "sgd", "steps": 1},
    "attack": "label-flip",
    "threat": {"hostile": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "run"
    asepsis.run(STUDY, out=out)
    return out


def test_the_paths_of_all_files_are_printed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "files"
    done = CliRunner().invoke(
        app, ["export", str(folder), "--out", str(out), "--format", "csv,latex"]
    )
    assert done.exit_code == 0
    printed = [Path(line) for line in done.output.splitlines()]
    assert set(printed) == set(out.iterdir())
    assert {path.suffix for path in printed} == {".csv", ".tex"}


def test_without_a_place_the_files_lie_where_purge_finds_them(folder: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(folder), "--format", "csv"])
    assert done.exit_code == 0
    written = set((folder / "exports").iterdir())
    assert written == {Path(line) for line in done.output.splitlines()}
    assert written <= set(plan_purge(folder).files)


@pytest.mark.parametrize(
    ("place", "formats", "says"), [("", "png", "unknown format"), ("nowhere", "csv", "nowhere")]
)
def test_what_cannot_be_exported_is_one_clear_error(
    folder: Path, tmp_path: Path, place: str, formats: str, says: str
) -> None:
    asked = ["export", str(folder / place), "--out", str(tmp_path / "x"), "--format", formats]
    done = CliRunner().invoke(app, asked)
    assert isinstance(done.exception, AsepsisError)
    assert says in str(done.exception)
