"""``asepsis init``: what it guesses, what it asks, and that what it writes is an assessment."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_command import Done, asepsis, refused

from asepsis.assess.spec import AssessSpec, load_assessment
from asepsis.core.registry import build

PATIENT = "SURNAME"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def answered(monkeypatch: pytest.MonkeyPatch, text: str, *words: str) -> Done:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return asepsis("init", *words)


def table(path: Path, header: str = "patient_id,hospital,age,note,died") -> Path:
    rows = [f"{PATIENT}{k},site{k % 3},{40 + k % 50},text {k},{k % 2}" for k in range(90)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def written(folder: Path) -> AssessSpec:
    return load_assessment(folder / "federation.toml")


def test_a_table_is_guessed_and_can_be_loaded(tmp_path: Path) -> None:
    table(tmp_path / "mine.csv")
    done = asepsis("init", "--yes")
    assert (done.code, done.err) == (0, "")
    assert PATIENT not in done.out
    spec = written(tmp_path)
    assert spec.data == {
        "name": "csv",
        "path": "mine.csv",
        "target": "died",
        "site": "hospital",
        "group": "patient_id",
        "ignore": ["note"],
    }
    assert spec.feared()
    data = build("dataset", spec.data).load()
    assert (len(data), len(set(data.sites)), data.inputs.shape[1]) == (90, 3, 1)


def test_ten_lines_or_so(tmp_path: Path) -> None:
    table(tmp_path / "mine.csv")
    asepsis("init", "--yes")
    lines = (tmp_path / "federation.toml").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("[")]) == 11


def test_answers_take_the_place_of_guesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path / "mine.csv")
    text = "nothing\nnote\nnone\n\nbackdoor, evil\nbackdoor\n2\n5\n"
    done = answered(monkeypatch, text, "mine.csv", "--out", "other.toml")
    assert done.code == 0
    assert "no such column" in done.out
    spec = load_assessment(tmp_path / "other.toml")
    assert (spec.data["target"], spec.data["group"]) == ("note", "patient_id")
    assert "site" not in spec.data
    assert "ignore" not in spec.data
    assert (spec.threats, spec.hostile, spec.minutes) == (("backdoor",), 2, 5.0)


def test_nothing_is_written_over_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(tmp_path / "mine.csv")
    (tmp_path / "federation.toml").write_text("mine")
    assert "there already" in refused(asepsis("init", "--yes"))
    assert answered(monkeypatch, "\n" * 6 + "n\n").code == 1
    assert (tmp_path / "federation.toml").read_text() == "mine"
    assert answered(monkeypatch, "\n" * 6 + "y\n").code == 0
    assert written(tmp_path).data["name"] == "csv"


def test_arrays(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"x": np.zeros((9, 2)), "y": np.arange(9) % 2}
    np.savez(tmp_path / "mine.npz", hospital=np.arange(9), subject=np.arange(9), **arrays)
    assert asepsis("init", "--yes").code == 0
    found = {k: v for k, v in written(tmp_path).data.items() if k != "path"}
    assert found == {
        "name": "npz",
        "inputs": "x",
        "targets": "y",
        "sites": "hospital",
        "groups": "subject",
    }


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["a/x.png", "b/y.PNG"], {"name": "image-folder"}),
        (["n/a/x.dcm", "s/b/y.dcm"], {"name": "dicom-folder", "layout": "site/class"}),
        (["n/a/x.nii.gz", "s/b/y.nii"], {"name": "nifti-folder", "layout": "site/class"}),
        (
            ["n/x.dcm", "s/y.dcm", "who.csv"],
            {"name": "dicom-folder", "layout": "site", "labels": "who.csv", "target": "label"},
        ),
    ],
)
def test_folders(tmp_path: Path, files: list[str], wanted: dict[str, str]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("file,label\nx.dcm,1\ny.dcm,0\n")
    assert asepsis("init", "--yes").code == 0
    assert written(tmp_path).data == {"path": ".", **wanted}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "no data found"),
        (lambda root: (table(root / "a.csv"), table(root / "b.csv")), "say which"),
        (lambda root: (root / "a.png").write_text(""), "nothing says what each shows"),
        (lambda root: table(root / "a.csv", "p,q,r,s,t"), None),
        (lambda root: table(root / "a.csv", "1,2,3,4,5"), "first line does not name the columns"),
        (lambda root: (root / "a.csv").write_text("u,v\n1,2\n"), "which column is to be predicted"),
    ],
)
def test_what_it_cannot_guess_is_said(tmp_path: Path, make: Any, words: str | None) -> None:
    make(tmp_path)
    done = asepsis("init", "--yes")
    if words is None:
        assert written(tmp_path).data["target"] == "t"
        return
    assert words in refused(done)
    assert not (tmp_path / "federation.toml").exists()


def test_a_network_is_read_and_not_run(tmp_path: Path) -> None:
    table(tmp_path / "mine.csv")
    body = "class Net:\n def __init__(self, in_features, num_classes, wide=3): pass\n"
    (tmp_path / "net.py").write_text(f"raise SystemExit\n{body}")
    assert asepsis("init", "--yes", "--model", "net.py:Net").code == 0
    assert written(tmp_path).model == {
        "name": "module",
        "at": "net.py:Net",
        "options": {"in_features": "{features}", "num_classes": "{classes}"},
    }
    (tmp_path / "federation.toml").unlink()
    assert "no such class" in refused(asepsis("init", "--yes", "--model", "net.py:Nett"))


def test_names_from_a_file_rule_no_terminal(tmp_path: Path) -> None:
    rows = "".join(f"{k},A,{k % 2}\n" for k in range(20))
    table = tmp_path / "t.csv"
    table.write_text(f"\x1b[2Jage\x9b2J,site,died\n{rows}")
    done = asepsis("init", str(table), "--out", str(tmp_path / "f.toml"), "--yes")
    assert done.code == 0, done.err
    assert not {"\x1b", "\x9b"} & set(done.out + done.err)
    refusal = refused(asepsis("run", f"no\x1b[2J{tmp_path}"))
    assert "\x1b" not in refusal


def test_a_source_that_no_parser_bears_is_one_message(tmp_path: Path) -> None:
    rows = "".join(f"{k},A,{k % 2}\n" for k in range(20))
    (tmp_path / "t.csv").write_text(f"age,site,died\n{rows}")
    for name, text in (("deep.py", f"x={'-' * 200_000}1"), ("large.py", "#" * (2**20 + 1))):
        (tmp_path / name).write_text(text)
        model = f"{tmp_path / name}:Net"
        words = ["--out", str(tmp_path / "f.toml"), "--model", model]
        message = refused(asepsis("init", str(tmp_path / "t.csv"), "--yes", *words))
        assert name in message
        assert str(tmp_path) not in message
