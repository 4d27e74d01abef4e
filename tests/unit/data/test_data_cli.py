"""``asepsis data``: list, card, fetch, check."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from asepsis.cli.data import app
from asepsis.core.errors import ConfigError, DataError

for package in ("rich.console", "rich.table", "sklearn.datasets"):
    importlib.import_module(package)  # moves Python's global generator, which tests watch


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASEPSIS_DATA", str(tmp_path))
    monkeypatch.setenv("ASEPSIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASEPSIS_OFFLINE", "1")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def put_breastmnist(tmp_path: Path) -> None:
    arrays = {
        f"{part}_{what}": np.zeros((n, *shape), np.uint8)
        for part, n in (("train", 4), ("val", 2), ("test", 3))
        for what, shape in (("images", (28, 28)), ("labels", (1,)))
    }
    np.savez(tmp_path / "breastmnist.npz", **arrays)  # type: ignore[arg-type]


def test_list_gives_names_and_summaries_to_machines() -> None:
    rows = json.loads(run("list", "--json").output)
    names = [row["name"] for row in rows]
    assert {"pneumoniamnist", "heart-disease", "phantom", "csv"} <= set(names)
    assert all({"name", "summary", "paper", "fidelity"} <= set(row) for row in rows)
    assert all(row["summary"] and row["paper"] and row["fidelity"] for row in rows)


def test_list_says_that_the_phantom_is_synthetic() -> None:
    assert "SYNTHETIC" in run("list").output


def test_listing_imports_no_heavy_package() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from asepsis.cli.data import app; "
        "CliRunner().invoke(app, ['list']); "
        "print([m for m in ('torch', 'numpy', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_card_is_printed() -> None:
    assert "4 real hospitals" in run("card", "heart-disease").output
    assert json.loads(run("card", "phantom", "--json").output)["synthetic"] == "yes"


def test_check_describes_a_set() -> None:
    rows = json.loads(run("check", "phantom", "--set", "n=20", "--json").output)
    assert rows[0]["samples"] == 20
    assert rows[0]["sites"] == 4
    assert rows[0]["synthetic"]


def test_check_refuses_a_file_that_is_not_the_official_one(tmp_path: Path) -> None:
    put_breastmnist(tmp_path)
    error = run("check", "breastmnist").exception
    assert isinstance(error, DataError)
    assert "750601b1f35ba3300ea97c75c52ff8f6" in str(error)


def test_check_all_reports_what_fails_and_what_is_absent(tmp_path: Path) -> None:
    put_breastmnist(tmp_path)
    done = run("check", "--all", "--json")
    rows = {row["name"]: row for row in json.loads(done.output)}
    assert done.exit_code == 2
    assert rows["breastmnist"]["status"] == "FAILED"
    assert rows["pathmnist"]["status"] == "absent"
    assert rows["breast-cancer"]["status"] == "ok"
    assert "csv" not in rows


def test_check_of_an_absent_set_says_how_to_get_it() -> None:
    error = run("check", "pathmnist").exception
    assert isinstance(error, DataError)
    assert "asepsis data fetch pathmnist" in str(error)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check"], "name one data set"),
        (["check", "phantom", "--all"], "name one data set"),
        (["check", "phantam"], "did you mean 'phantom'"),
        (["check", "phantom", "--set", "n"], "not key=value"),
        (["check", "phantom", "--set", "m=3"], "unknown option"),
        (["check", "phantom", "--set", "n=few"], "dataset|phantom"),
        (["card", "phantam"], "did you mean 'phantom'"),
    ],
)
def test_mistakes_are_one_clear_error(arguments: list[str], says: str) -> None:
    error = run(*arguments).exception
    assert isinstance(error, ConfigError)
    assert says.split("|")[0] in str(error) or says.split("|")[-1] in str(error)


def test_fetch_prints_where_the_file_lies_or_why_not(tmp_path: Path) -> None:
    put_breastmnist(tmp_path)
    assert run("fetch", "breastmnist").output.strip().endswith("breastmnist.npz")
    assert "needs no download" in run("fetch", "phantom").output
    assert isinstance(run("fetch", "pathmnist").exception, DataError)
    assert "eICU" in str(run("fetch", "eicu").exception)


@pytest.mark.parametrize("command", ["list", "card", "fetch", "check"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    assert f"Example: asepsis data {command}" in run(command, "--help").output
