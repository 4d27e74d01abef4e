"""What an assessment leaves: whole files for their owner only, and an experiment that runs."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path

import pytest
from made_up import OPEN, candidate, hostile, interval, outcome

from asepsis.api import execute, prepare
from asepsis.assess.outcome import Answer, Outcome
from asepsis.assess.outputs import json_text, write_outputs
from asepsis.core.errors import StoreError
from asepsis.experiments.plan import plan_study, study_from
from asepsis.experiments.run import RunOptions

ALWAYS = {"report.html", "assessment.json", "junit.xml", "assessment.sarif"}


def names(paths: list[Path], folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in paths}


def last_runs(folder: Path) -> None:
    """Run the last step of a tiny assessment."""
    table = {
        "name": "final",
        "seeds": [0],
        "scenarios": [
            {
                "title": "hostile hospitals",
                "experiment": {
                    "dataset": "breast-cancer",
                    "federation": {"hospitals": 4, "rounds": 1},
                    "trainer": {"name": "sgd", "steps": 1},
                    "threat": {"hostile": 1},
                },
                "over": {"attack": ["none"], "defenses": [["mean"], ["median"]]},
            }
        ],
    }
    how = RunOptions(engine="serial")
    plan = plan_study(study_from(table, "final"))
    execute(plan, prepare(plan, folder / "final", how), how)


@pytest.mark.parametrize("told", [outcome(), hostile()])
def test_every_file_is_whole_and_its_owners_only(told: Outcome, tmp_path: Path) -> None:
    written = write_outputs(told, tmp_path)
    assert names(written, tmp_path) == ALWAYS == {path.name for path in tmp_path.iterdir()}
    assert written[0].name == "report.html"
    for path in written:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    json.loads((tmp_path / "assessment.json").read_text(encoding="utf-8"))


def test_copies_go_where_they_are_asked(tmp_path: Path) -> None:
    gate, found = tmp_path / "ci" / "gate.xml", tmp_path / "ci" / "deep" / "found.sarif"
    write_outputs(outcome(), tmp_path, junit=gate, sarif=found)
    assert gate.read_bytes() == (tmp_path / "junit.xml").read_bytes()
    assert found.read_bytes() == (tmp_path / "assessment.sarif").read_bytes()


def test_a_place_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        write_outputs(outcome(), tmp_path, junit=tmp_path / "file" / "gate.xml")
    assert (tmp_path / "report.html").exists()


def test_with_the_last_runs_comes_an_experiment_that_runs(tmp_path: Path) -> None:
    last_runs(tmp_path)
    written = write_outputs(outcome(public=True), tmp_path)
    assert names(written, tmp_path) == {*ALWAYS, "recommended.toml", "final/report.html"}
    text = (tmp_path / "recommended.toml").read_text(encoding="utf-8")
    study = study_from(tomllib.loads(text), "recommended")
    assert study.seeds == (0, 1, 2, 3, 4)
    plan = plan_study(study)
    assert all(cell.spec.defenses == ({"name": "median"},) for cell in plan.cells)
    assert all(cell.spec.attack is None for cell in plan.cells)
    assert "recommended.toml" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_stack_that_is_not_borne_out_is_not_recommended_by_a_file(tmp_path: Path) -> None:
    last_runs(tmp_path)
    write_outputs(outcome(public=True), tmp_path)
    assert (tmp_path / "recommended.toml").exists()
    told = outcome(OPEN, public=True, answer=Answer.FAIL)
    written = write_outputs(told, tmp_path)
    assert "recommended.toml" not in names(written, tmp_path)
    assert not (tmp_path / "recommended.toml").exists()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "asepsis run judged.toml" in page
    table = json.loads((tmp_path / "assessment.json").read_text(encoding="utf-8"))
    assert (table["judged"], table["recommended"]) == ("median", "mean")


def test_no_output_says_where_things_are(tmp_path: Path) -> None:
    stack = ({"name": "ledger", "contract": "/home/eva/key"}, {"name": "mean"})
    name = "ledger (contract=/home/eva/key) + mean"
    told = outcome(
        recommended=name,
        stack=stack,
        clean={"mean": interval(0.8, 0.9), name: interval(0.8, 0.9)},
        candidates=(
            candidate(name, 0.0, 0.1, stack=stack, chosen=True),
            candidate("other", 0.0, 0.1, refused="no file /home/eva/key"),
        ),
    )
    last_runs(tmp_path)
    for path in write_outputs(told, tmp_path):
        if path.name != "recommended.toml":
            assert "/home" not in path.read_text(encoding="utf-8"), path.name
    table = json.loads((tmp_path / "assessment.json").read_text(encoding="utf-8"))
    assert table["recommended"] == "ledger (contract=[path]) + mean"
    assert table["stack"][0]["contract"] == "[path]"


def test_places_that_look_alike_are_two() -> None:
    both = {"a (x=/home/eva/1)": interval(0, 1), "a (x=/home/eva/2)": interval(0, 1)}
    table = json.loads(json_text(outcome(clean=both)))
    assert list(table["clean"]) == ["a (x=[path])", "a (x=[path]) (2)"]


def test_places_of_private_data_are_left_out(tmp_path: Path) -> None:
    last_runs(tmp_path)
    write_outputs(outcome(public=False), tmp_path)
    text = (tmp_path / "recommended.toml").read_text(encoding="utf-8")
    assert "fill them in" in text
    tomllib.loads(text)
