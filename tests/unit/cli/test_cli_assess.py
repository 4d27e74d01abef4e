"""``asepsis assess``: its exit codes, what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_command import asepsis, refused
from made_up import COVERED, OPEN, UNCLEAR, hostile, outcome

from asepsis.assess import assessment
from asepsis.assess.outcome import Answer

FOUND = {
    Answer.PASS: outcome(COVERED),
    Answer.FAIL: outcome(OPEN, answer=Answer.FAIL),
    Answer.INCONCLUSIVE: outcome(UNCLEAR, answer=Answer.INCONCLUSIVE),
}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "federation.toml"
    path.write_text('data = "heart-disease"\nthreats = "backdoor"\n')
    return str(path)


def finds(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    def assessed(_asked: Any, out: Path, *_rest: Any) -> Any:
        out.mkdir(parents=True)
        return found

    monkeypatch.setattr(assessment, "assess", assessed)


@pytest.mark.parametrize(("answer", "code"), [*zip(FOUND, (0, 1, 3), strict=True)])
def test_the_exit_code_is_the_answer(
    asked: str, monkeypatch: pytest.MonkeyPatch, answer: Answer, code: int
) -> None:
    finds(monkeypatch, FOUND[answer])
    done = asepsis("assess", asked, "--out", "found")
    assert done.code == code
    assert done.out.lstrip().lower().startswith(str(answer))
    assert "found/report.html" in done.out


@pytest.mark.parametrize("found", [FOUND[Answer.FAIL], hostile()])
def test_json_is_all_that_json_prints(
    asked: str, monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    finds(monkeypatch, found)
    done = asepsis("assess", asked, "--out", "found", "--json")
    assert json.loads(done.out)["exit_code"] == done.code == 1
    assert json.loads(Path("found/assessment.json").read_text()) == json.loads(done.out)


def test_a_pipeline_gets_its_files(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, FOUND[Answer.PASS])
    asepsis("assess", asked, "--out", "found", "--junit", "gate.xml", "--sarif", "gate.sarif")
    assert Path("gate.xml").read_text().startswith("<?xml")
    assert json.loads(Path("gate.sarif").read_text())["version"] == "2.1.0"


@pytest.mark.parametrize(
    "text",
    ["data = ", "", 'data = "heart-disease"\nthreats = "meteorites"', 'data = "x"\nhostile = -1'],
)
def test_bad_input_is_one_message_and_nothing_is_written(asked: str, text: str) -> None:
    Path(asked).write_text(text)
    before = sorted(Path().rglob("*"))
    assert refused(asepsis("assess", asked))
    assert sorted(Path().rglob("*")) == before


def test_a_file_that_is_not_there_says_how_to_make_one(asked: str) -> None:
    assert "asepsis init" in refused(asepsis("assess", f"{asked}.not"))


def test_a_gate_that_cannot_be_written_is_refused_before_anything_runs(
    asked: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    for place in (tmp_path, tmp_path / "taken" / "gate.xml"):
        said = refused(asepsis("assess", asked, "--out", "out", "--junit", str(place)))
        assert "--junit" in said
        assert not (tmp_path / "out").exists()
