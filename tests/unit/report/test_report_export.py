"""Tables and plots as files: complete, private to their owner, and safe whatever their text."""

from __future__ import annotations

import csv
import io
import re
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_study import Maker, make

from asepsis.core.errors import ConfigError, StoreError
from asepsis.report.export import export
from asepsis.report.grids import Cell, Grid
from asepsis.report.tabular import csv_text, latex, latex_text, plain

EVIL = r'=HYPERLINK("http://x")</svg><script>alert(1)</script>\input{/etc/passwd}$%&_#~^{}'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All files of one small study."""
    return export(make(), tmp_path_factory.mktemp("export") / "out")


def test_every_table_and_plot_becomes_a_file_of_its_own(made: list[Path]) -> None:
    out = made[0].parent
    names = [path.name for path in made]
    assert len(set(names)) == len(names)
    assert {"s0-map.csv", "s0-findings.csv", "s0-findings.tex", "s0-heat-harm.csv"} <= set(names)
    assert {path.suffix for path in made} == {".csv", ".tex", ".svg", ".pdf"}
    assert sum(name.endswith(".svg") for name in names) == 4
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in made)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {path.name for path in out.iterdir()} == set(names)


def test_the_same_results_give_the_same_files(
    made: list[Path], study: Maker, tmp_path: Path
) -> None:
    again = export(study(), tmp_path / "again", ["csv", "latex", "pdf"])
    first = {path.name: path.read_bytes() for path in made if path.suffix != ".svg"}
    assert {path.name: path.read_bytes() for path in again} == first


def test_only_what_was_asked_for_is_written(study: Maker, tmp_path: Path) -> None:
    made = export(study(), tmp_path / "out", ["csv"])
    assert {path.suffix for path in made} == {".csv"}
    for wrong in (["png"], [], ["csv", "doc"]):
        with pytest.raises(ConfigError, match="unknown format"):
            export(study(), tmp_path / "none", wrong)
    assert not (tmp_path / "none").exists()


def test_a_place_that_cannot_be_written_is_one_clear_error(study: Maker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        export(study(), tmp_path / "file", ["csv"])


def test_csv_holds_what_is_read_and_the_exact_figure(made: list[Path]) -> None:
    with (made[0].parent / "s0-findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (flip,) = [row for row in rows if (row["attack"], row["defense"]) == ("label-flip", "mean")]
    assert flip["balanced accuracy (%)"] == "55.0 ±5.0"
    assert float(flip["balanced accuracy (%) [value]"]) == pytest.approx(0.55)


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\t=1", " =1", "\r=1", "-x"]
)
def test_text_never_becomes_a_formula(text: str) -> None:
    (row,) = list(csv.reader(io.StringIO(csv_text(Grid(["a"], [[Cell(text)]])), newline="")))[1:]
    assert row == ["'" + text.replace("\t", " ").replace("\r", " ")]


@pytest.mark.parametrize("text", ["-0.5", "+3", "1e-05", "-.5", "12%", "krum", "−3.0 ±1"])
def test_numbers_and_words_stay_as_they_are(text: str) -> None:
    assert plain(text) == text


def test_latex_sets_hostile_text_and_runs_none_of_it() -> None:
    text = latex_text(Grid([EVIL], [[Cell(EVIL + "\n\\end{document}")]]), EVIL, EVIL)
    own: tuple[str, ...] = ("begin", "end", "caption", "label", "hline", "textbackslash")
    own += ("textasciicircum", "textasciitilde", "textless", "textgreater", "textbar")
    commands = set(re.findall(r"\\([A-Za-z]+)", text))
    assert commands <= set(own)
    assert text.count("\\end{") == text.count("\\begin{") == 2
    body = re.sub(r"\\[$%&_#{}\\]", "", text)
    assert not re.search(r"[$%#_^~]", body)
    assert body.count("{") == body.count("}")


def test_latex_knows_the_signs_that_tables_use() -> None:
    assert latex("−3.0 ±1.5 Δ ≥") == r"$-$3.0 $\pm$1.5 $\Delta$ $\geq$"


def test_hostile_names_stay_text_in_every_file(study: Maker, tmp_path: Path) -> None:
    evil = study(title=EVIL, study_title=EVIL, classes=[EVIL, "other"], hospitals=[EVIL, "other"])
    for path in export(evil, tmp_path / "out", ["csv", "latex", "svg"]):
        assert path.parent == tmp_path / "out"
        text = path.read_text()
        if path.suffix == ".svg":
            tags = {item.tag.rpartition("}")[2] for item in ElementTree.fromstring(text).iter()}
            assert "script" not in tags
        if path.suffix == ".csv":
            fields = [field for row in csv.reader(io.StringIO(text)) for field in row]
            assert not any(field.startswith(("=", "@")) for field in fields)
        if path.suffix == ".tex":
            assert r"\input{" not in text
    with (tmp_path / "out" / "s0-hospitals.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["hospital", "'" + EVIL, "other"]


def test_plots_stand_alone_in_the_colors_of_paper(made: list[Path]) -> None:
    for path in made:
        if path.suffix == ".svg":
            text = path.read_text()
            ElementTree.fromstring(text)
            assert "#0102" not in text
            assert "#0067a5" in text
        if path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF-")
