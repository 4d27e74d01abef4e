"""The app folder: what is in it, and that it plays the experiment it was written for."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from asepsis.core.errors import ConfigError, StoreError
from asepsis.deploy.app import app_name, folder_of_app, plan_of, sites_of, write_app
from asepsis.deploy.texts import Settings, site
from asepsis.experiments.plan import Plan, plan_study, study_from
from asepsis.report.toml_text import study_toml

TABLE = {
    "name": "wire test",
    "dataset": "breast-cancer",
    "partition": {"name": "dirichlet", "alpha": 0.7},
    "attack": "ipm",
    "threat": {"hostile": 1},
    "seeds": [3, 4],
    "federation": {"hospitals": 4, "rounds": 2},
    "over": {"defenses": [["mean"], ["norm-clip", "median"]]},
}


def planned(**changes: object) -> Plan:
    return plan_study(study_from({**TABLE, **changes}, "wire test"))


def write(plan: Plan, folder: Path) -> Path:
    return write_app(study_toml(plan.study), plan, folder).folder


def test_the_folder_plays_the_same_runs(tmp_path: Path) -> None:
    plan = planned()
    folder = write(plan, tmp_path / "app")
    again = plan_of(folder / "experiment.toml")
    assert {c.digest for c in again.cells} == {c.digest for c in plan.cells}
    assert len(again.cells) == 8  # two stacks, two seeds, each with its twin


def test_the_apps_are_asepsis_own_and_sites_are_not_sent(tmp_path: Path) -> None:
    folder = write(planned(), tmp_path / "app")
    table = tomllib.loads((folder / "pyproject.toml").read_text())
    assert table["project"]["name"] == "asepsis-wire-test"
    app = table["tool"]["flwr"]["app"]
    assert app["components"] == {
        "serverapp": "asepsis.deploy.server:app",
        "clientapp": "asepsis.deploy.client:app",
    }
    assert app["fab-include"] == ["experiment.toml"]
    assert not list(folder.rglob("*.py"))


def test_every_site_has_its_own_file(tmp_path: Path) -> None:
    folder = write(planned(), tmp_path / "app")
    found = [tomllib.loads(path.read_text()) for path in sorted((folder / "sites").iterdir())]
    assert [one["partition-id"] for one in found] == [0, 1, 2, 3]
    assert all(one["num-partitions"] == 4 and one["data-root"] == "" for one in found)


def test_a_place_with_quotes_survives() -> None:
    odd = Path('/data/a "b"\\c = d')
    assert tomllib.loads(site(1, 2, odd))["data-root"] == str(odd)
    told = Settings(str(odd), resume=True)
    assert Settings.of(tomllib.loads(told.toml())) == told


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "mine").write_text("x")
    with pytest.raises(StoreError, match="something is there already"):
        write(planned(), tmp_path / "app")
    assert [path.name for path in (tmp_path / "app").iterdir()] == ["mine"]


def test_a_text_that_says_something_else_is_refused(tmp_path: Path) -> None:
    other = study_toml(planned(seeds=[5]).study)
    with pytest.raises(ConfigError, match="another one"):
        write_app(other, planned(), tmp_path / "app")
    assert not (tmp_path / "app").exists()


def test_runs_with_different_hospitals_are_refused() -> None:
    plan = planned(over={"federation.hospitals": [3, 4]})
    with pytest.raises(ConfigError, match=r"different numbers of hospitals; got \[3, 4\]"):
        sites_of(plan)


def test_the_running_app_is_found_on_the_path(tmp_path: Path) -> None:
    folder = write(planned(), tmp_path / "app")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "experiment.toml").write_text("")
    (tmp_path / "other" / "pyproject.toml").write_text("")
    places = ["", str(tmp_path / "other"), str(folder)]
    assert folder_of_app(places) == folder
    with pytest.raises(ConfigError, match="no experiment beside the app"):
        folder_of_app(places[:2])


@pytest.mark.parametrize(
    ("study", "name"),
    [("a", "asepsis-a"), ("Ü!", "asepsis-federation"), ("x" * 99, "asepsis-" + "x" * 22)],
)
def test_names_are_what_flower_takes(study: str, name: str) -> None:
    assert app_name(study) == name
