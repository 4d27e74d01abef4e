"""No command that reads results back knows a patient, and neither does an assessment."""

from __future__ import annotations

import shutil
from pathlib import Path

import canary_inputs
import pytest
from canary import SITE, found_below, found_in
from cli_command import Done, asepsis

from asepsis.report.view import Viewer

STUDY = """
dataset = {dataset}
partition = "site"
seeds = [0, 1]
attack = "label-flip"
threat = {{ hostile = 1 }}
defenses = ["median"]
observe = ["property-inference"]
trainer = {{ name = "sgd", steps = 2 }}
federation = {{ hospitals = "all", rounds = 2 }}
"""
ASSESSMENT = """
name = "ours"
threats = ["label-flip"]
minutes = 1.0
seeds = 3
search = false
also = [["median"], ["krum"]]
[data]
{data}
[federation]
rounds = 2
[trainer]
name = "sgd"
steps = 2
"""
QUICK = ["--engine", "serial", "--jobs", "1"]


def said(done: Done) -> set[str]:
    assert "Traceback" not in done.err
    return found_in((done.out + done.err).encode(), sites=True)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("read-back")
    (folder / "elsewhere").mkdir()
    path = folder / "mine.toml"
    path.write_text(STUDY.format(dataset=canary_inputs.table(folder / "elsewhere")))
    done = asepsis("run", str(path), "--out", str(folder / "out"), "--pseudonyms", *QUICK)
    assert done.code == 0, done.err
    return folder / "out"


@pytest.mark.parametrize(
    ("words", "writes"),
    [
        (("export", "{run}", "--out", "{new}", "--format", "csv,latex"), True),
        (("frame", "{run}", "--out", "{new}/a.csv"), True),
        (("frame", "{run}", "--out", "{new}/a.csv", "--rounds"), True),
        (("track", "{run}", "--to", "tensorboard", "--uri", "{new}"), True),
        (("compare", "{run}", "{run}", "--json"), False),
        (("compare", "{run}", "{run}"), False),
        (("leaderboard", "{above}", "--json"), False),
        (("leaderboard", "{above}"), False),
        (("purge", "{copy}", "--all", "--yes", "--json"), False),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, tuple) else "",
)
def test_what_reads_results_back_knows_nobody(
    out: Path, tmp_path: Path, words: tuple[str, ...], writes: bool
) -> None:
    new, copy = tmp_path / "new", tmp_path / "copy"
    new.mkdir()
    shutil.copytree(out, copy)
    places = {"run": out, "above": out.parent, "new": new, "copy": copy}
    if words[0] == "leaderboard":  # the inputs lie beside the results
        places["above"] = tmp_path
    done = asepsis(*(word.format(**places) for word in words))
    assert done.code == 0, done.err
    assert said(done) == set()
    assert found_below(new, sites=True) == {}
    assert any(new.rglob("*")) == writes


def test_no_page_of_the_local_server_knows_a_patient(out: Path) -> None:
    with Viewer(out) as server:
        [key] = server.shelf.studies()
        pages = ["", f"{key}/", f"{key}/report.html", *(f"{key}/{n}" for n in range(4))]
        for page in pages:
            answer = server.answer(server.home + page, server.hosts[0])
            assert answer.status == 200
            assert found_in(answer.body, sites=True) == set(), page


def test_an_assessment_knows_nobody(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    data = canary_inputs.table(tmp_path / "elsewhere")[1:-1].replace(", ", "\n")
    file, out = tmp_path / "federation.toml", tmp_path / "out"
    file.write_text(ASSESSMENT.format(data=data))
    more = ["--junit", str(out / "gate.xml"), "--sarif", str(out / "gate.sarif")]
    done = asepsis("assess", str(file), "--out", str(out), "--pseudonyms", *more, *QUICK)
    assert done.code in (0, 1, 3), done.err
    assert said(done) == set()
    assert found_below(out, sites=True) == {}
    written = {path.name for path in out.rglob("*") if path.is_file()}
    assert {"progress.json", "assessment.json", "report.html", "recommended.toml"} <= written
    again = asepsis("purge", str(out), "--all", "--yes")
    assert again.code == 0, again.err
    assert {path.name for path in out.rglob("*")} == {"gate.xml", "gate.sarif"}


def test_names_that_a_record_holds_are_told_to_no_tracker_nor_under_pseudonyms(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    path, out = tmp_path / "mine.toml", tmp_path / "out"
    text = STUDY.format(dataset=canary_inputs.table(tmp_path / "elsewhere"))
    over = f'over = {{ "federation.unseen" = ["{SITE}", "Alder"] }}\n'
    path.write_text(over + text.replace("seeds = [0, 1]", "seeds = [0]"))
    assert asepsis("run", str(path), "--out", str(out), *QUICK).code == 0
    assert asepsis("track", str(out), "--to", "tensorboard", "--uri", str(tmp_path / "t")).code == 0
    assert found_below(tmp_path / "t", sites=True) == {}
    assert asepsis("report", str(out), "--pseudonyms").code == 0
    assert found_in((out / "report.html").read_bytes(), sites=True) == set()


NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, features, classes):
        super().__init__(nn.Linear(features, classes))
"""


def test_beside_public_data_a_networks_folder_is_not_written(tmp_path: Path) -> None:
    folder = canary_inputs.place(tmp_path)
    (folder / "net.py").write_text(NETWORK)
    options = 'options = { features = "{features}", classes = "{classes}" }'
    model = f'model = {{ name = "module", at = "{folder}/net.py:Net", {options} }}\n'
    path, out = tmp_path / "mine.toml", tmp_path / "out"
    text = STUDY.format(dataset='"breast-cancer"').replace('"site"', '"dirichlet"')
    path.write_text(model + text.replace('"all"', "5").replace("seeds = [0, 1]", "seeds = [0]"))
    words = ["run", str(path), "--out", str(out), "--trust-code", *QUICK]
    done = asepsis(*words)
    assert done.code == 0, done.err
    before = {file: file.read_bytes() for file in (out / "runs").iterdir()}
    assert before
    assert asepsis(*words, "--resume").code == 0
    assert {file: file.read_bytes() for file in (out / "runs").iterdir()} == before
    assert asepsis("report", str(out)).code == 0
    assert said(done) == set()
    assert found_below(out) == {}
    assert b'"at":"net.py:Net"' in b"".join(before.values())
