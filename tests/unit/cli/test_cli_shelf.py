"""``list``, ``show``, ``doctor``, ``data`` and every ``--help``."""

from __future__ import annotations

import json
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from cli_command import asepsis, refused

from asepsis.cli import main
from asepsis.cli.shelf import SHELVES
from asepsis.core.registry import DEFENSES, entries

COMMANDS = [*(name for name, _, _ in main.COMMANDS), "data", "ledger"]
OF_DATA = ["list", "card", "fetch", "check"]
SHOWN = [(entry.kind, entry.name) for entry in entries() if entry.origin == "asepsis"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = asepsis(command, "--help")
    assert done.code == 0
    assert "Example:" in done.out
    assert f"asepsis {command}" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_every_argument_and_option_is(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    shown = asepsis(command, "--help").out
    found = typer.main.get_command(main.app).commands[command]  # type: ignore[attr-defined]
    for part in found.params:
        assert getattr(part, "help", None), f"{command} does not say what {part.name} is"
        assert part.help.replace("\\[", "[") in shown, "brackets in it were taken for markup"


@pytest.mark.parametrize("command", COMMANDS)
def test_paragraphs_of_help_break_where_the_screen_ends(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    prose = asepsis(command, "--help").out.split("╭")[0].splitlines()
    lines = [line.strip() for line in prose]
    assert not [line for line, after in pairwise(lines) if line and after]


@pytest.mark.parametrize("command", OF_DATA)
def test_every_data_command_has_help_with_an_example(command: str) -> None:
    done = asepsis("data", command, "--help")
    assert done.code == 0
    assert f"asepsis data {command}" in done.out


def test_the_first_help_names_the_commands_and_where_to_start() -> None:
    done = asepsis("--help")
    assert done.code == 0
    assert all(command in done.out for command in COMMANDS)
    assert "asepsis run quickstart" in done.out
    assert asepsis("-h").out == done.out


def test_the_version_is_told() -> None:
    assert asepsis("--version").out.startswith("asepsis 0.")


@pytest.mark.parametrize("what", SHELVES)
def test_a_shelf_is_a_list_of_objects(what: str) -> None:
    rows = json.loads(asepsis("list", what, "--json").out)
    assert rows
    for row in rows:
        assert {"name", "summary", "paper", "fidelity"} <= set(row)
        assert row["name"]
        assert row["summary"]
    assert len({(row.get("room"), row["name"]) for row in rows}) == len(rows)


@pytest.mark.parametrize("what", ["studies", "attacks", "defenses"])
def test_studies_attacks_and_defenses_say_where_from_and_how_sure(what: str) -> None:
    for row in json.loads(asepsis("list", what, "--json").out):
        assert row["paper"]
        assert row["fidelity"] in ("code", "paper", "abstract", "own")


def test_defenses_name_their_room() -> None:
    rows = json.loads(asepsis("list", "defenses", "--json").out)
    assert {row["room"] for row in rows} == {entry.kind for entry in entries(*DEFENSES)}


def test_the_whole_shelf_is_one_document_and_one_page() -> None:
    found = json.loads(asepsis("list", "--json").out)
    assert set(found) == set(SHELVES)
    page = asepsis("list").out
    assert all(row["name"] in page for rows in found.values() for row in rows)


def test_a_narrow_terminal_cuts_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert "geometric-median" in asepsis("list", "defenses").out


@pytest.mark.parametrize(("kind", "name"), SHOWN)
def test_every_component_can_be_shown(kind: str, name: str) -> None:
    about = json.loads(asepsis("show", kind, name, "--json").out)
    assert about["name"] == name
    assert about["doc"]
    assert all({"name", "type", "default"} <= set(option) for option in about["options"])
    page = asepsis("show", kind, name)
    assert page.code == 0
    assert name in page.out
    assert all(option["name"] in page.out for option in about["options"])


@pytest.mark.parametrize("shelf", [shelf for shelf in SHELVES if shelf != "studies"])
def test_a_shelf_may_stand_for_the_kind(shelf: str) -> None:
    first = json.loads(asepsis("list", shelf, "--json").out)[0]["name"]
    assert json.loads(asepsis("show", shelf, first, "--json").out)["name"] == first


def test_studies_name_their_profiles() -> None:
    rows = {row["name"]: row for row in json.loads(asepsis("list", "studies", "--json").out)}
    assert rows["quickstart"]["profiles"] == "quick"
    assert "profiles" in asepsis("list", "studies").out


def test_every_study_can_be_shown() -> None:
    for study in json.loads(asepsis("list", "studies", "--json").out):
        about = json.loads(asepsis("show", "study", study["name"], "--json").out)
        assert about["summary"] == study["summary"]
        text = asepsis("show", "study", study["name"]).out
        assert tomllib.loads(text) == tomllib.loads(about["toml"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list", "atacks"], "did you mean 'attacks'"),
        (["show", "atack", "ipm"], "did you mean 'attack'"),
        (["show", "attack", "imp"], "did you mean 'ipm'"),
        (["show", "defense", "kurm"], "did you mean 'krum'"),
        (["show", "study", "quikstart"], "did you mean 'quickstart'"),
        (["show", "study", "../studies/quickstart"], "unknown study"),
        (["show", "study", "quickstart", "--profile", "fool"], "One of: quick"),
        (["show", "attack", "ipm", "--profile", "full"], "only a study has profiles"),
        (["run", "quickstart", "--profile", "full"], "no such profile"),
        (["data", "card", "phantam"], "did you mean 'phantom'"),
        (["data", "check", "phantam"], "did you mean 'phantom'"),
    ],
)
def test_an_unknown_name_is_one_message(words: list[str], says: str) -> None:
    assert says in refused(asepsis(*words))


@pytest.mark.parametrize("words", [["frob"], ["run"], ["list", "--frob"], ["data", "frob"]])
def test_wrong_usage_is_exit_code_2(words: list[str]) -> None:
    done = asepsis(*words)
    assert done.code == 2
    assert done.out == ""
    assert "Usage:" in done.err
    assert "Traceback" not in done.err


def test_the_data_commands_work_from_the_main_program() -> None:
    assert json.loads(asepsis("data", "list", "--json").out)
    card = json.loads(asepsis("data", "card", "breast-cancer", "--json").out)
    assert card
    rows = json.loads(asepsis("data", "check", "breast-cancer", "--json").out)
    assert rows[0]["samples"] == 569


def test_the_doctor_tells_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASEPSIS_DATA", raising=False)
    found = json.loads(asepsis("doctor", "--json").out)
    assert {"python", "torch", "cores", "gpu", "[medical]", "data", "disk"} <= set(found)
    assert "not set" in found["data"]
    page = asepsis("doctor").out
    assert all(name in page for name in found)


def test_the_doctor_sees_data_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASEPSIS_DATA", "/none")
    assert "not a folder" in asepsis("doctor").out


def test_studies_are_listed_by_their_titles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = asepsis("list", "studies").out
    rows = json.loads(asepsis("list", "studies", "--json").out)
    assert all(row["title"] and row["summary"] for row in rows)
    assert len(shown.splitlines()) <= 6 * len(rows), "a summary fills half a screen"


def test_whoever_runs_an_assessment_is_told_how(tmp_path: Path) -> None:
    file = tmp_path / "federation.toml"
    file.write_text('threats = "all"\nhostile = 1\ndata = "heart-disease"\n')
    assert "asepsis assess" in refused(asepsis("run", str(file)))
