from __future__ import annotations

import builtins
import re
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_study import Maker

from asepsis.core.errors import StoreError
from asepsis.experiments.results import Results
from asepsis.experiments.spec import Study, parse
from asepsis.report.html import render, write_report
from asepsis.report.toml_text import study_toml

VOID = {"meta", "img", "br", "link", "hr", "input"}
LOADING = {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}


class Page(HTMLParser):
    """Collects tags, table cells, references and visible text; checks that tags balance."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.references += [value or "" for name, value in attrs if name in LOADING]
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


def test_a_page_holds_the_figures_one_gets_on_paper(study: Maker) -> None:
    cells = Page(render(study())).cells
    assert "55.0 ±5.0" in cells
    assert "−30.0 ±2.5" in cells
    assert "91.0 ±2.5" in cells
    assert "90.0 ±2.8" in cells
    assert "75.0 ±2.5" in cells


def test_a_page_loads_nothing(study: Maker) -> None:
    text = render(study())
    page = Page(text)
    assert page.references
    assert all(ref.startswith(("#", "data:image/png;base64,")) for ref in page.references)
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "http://" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_ids_are_unique_and_every_anchor_leads_somewhere(study: Maker) -> None:
    page = Page(render(study()))
    assert len(page.ids) == len(set(page.ids))
    anchors = {ref[1:] for ref in page.references if ref.startswith("#")}
    assert anchors <= set(page.ids)


def test_the_same_results_give_the_same_bytes(study: Maker, tmp_path: Path) -> None:
    one = write_report(study(), tmp_path / "one.html")
    two = write_report(study(), tmp_path / "two.html")
    assert one.read_bytes() == two.read_bytes()
    assert len(one.read_bytes()) < 1_500_000


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", "</title></style><img src=x onerror=y>", '"><b>&']
)
def test_hostile_names_stay_text(study: Maker, evil: str) -> None:
    harmless = Page(render(study(title="x", study_title="x", broken="x")))
    page = Page(
        render(
            study(
                title=evil,
                study_title=evil,
                classes=[evil, "other"],
                hospitals=[evil, "other"],
                broken=evil,
            )
        )
    )
    assert page.tags.count("script") == harmless.tags.count("script") == 1
    assert page.tags.count("img") == harmless.tags.count("img")
    assert page.tags.count("b") == 0
    assert evil in page.text


def test_failed_runs_are_shown_with_their_reason_and_without_paths(study: Maker) -> None:
    page = Page(render(study(broken="/home/eva/scans/x.npz: the file is corrupt")))
    assert "Failed runs" in page.text
    assert "[path]: the file is corrupt" in page.cells
    assert "scans" not in page.text


def test_a_study_without_a_single_figure_still_renders(study: Maker) -> None:
    results = study()
    for run in results.runs:
        run.lines.clear()
    page = Page(render(results))
    assert page.cells.count("missing") == len(results.runs)


def test_figures_that_are_not_numbers_render(study: Maker) -> None:
    results = study()
    for run in results.runs:
        tail = run.lines[-1]["result"]["tail"]
        tail.update(dict.fromkeys(tail, float("nan")))
    assert "n/a" in Page(render(results)).cells


def test_pictures_show_truth_beside_reconstruction(curious: Results) -> None:
    page = Page(render(curious))
    assert page.text.count("true image") == page.text.count("reconstruction") == 4
    assert "dlg through plain + mean, round 1: PSNR 24.0 dB" in page.text
    assert "no claim" in page.text


def test_pictures_of_data_that_is_not_public_are_left_out(
    study: Maker, curious: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asepsis.report import provenance

    monkeypatch.setattr(provenance, "lookup", lambda *_: object)
    for results in (study(), curious):
        page = Page(render(results))
        assert "img" not in page.tags
        assert "not public" in page.text
    shown = Page(render(curious, include_patient_data=True))
    assert "img" in shown.tags
    assert "This file holds patient data" in shown.text


def test_small_groups_of_private_data_are_suppressed(
    study: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asepsis.report import provenance

    assert "5" in Page(render(study())).cells
    monkeypatch.setattr(provenance, "lookup", lambda *_: object)
    cells = Page(render(study())).cells
    assert "5" not in cells
    assert "<10" in cells


def test_without_matplotlib_the_page_says_so(study: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: object, **options: object) -> object:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **options)  # type: ignore[arg-type]

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
    page = Page(render(study()))
    assert "svg" not in page.tags
    assert "pip install 'asepsis[plots]'" in page.text
    assert "55.0 ±5.0" in page.cells


def test_the_printed_toml_gives_the_study_back(study: Maker) -> None:
    made = study(title='odd "title" \\ with\nlines\x7f').study
    again: Study = parse(Study, tomllib.loads(study_toml(made)))
    assert again == made
    shown = Page(render(study())).text
    assert 'name = "small"' in shown


def test_paths_of_private_data_are_not_printed(
    study: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asepsis.report import provenance

    monkeypatch.setattr(provenance, "lookup", lambda *_: object)
    results = study()
    scenario = results.study.scenarios[0]
    secret = {"name": "npz", "path": "/home/eva/scans.npz"}
    base = scenario.experiment.model_copy(update={"dataset": secret})
    private = scenario.model_copy(update={"experiment": base, "fallback": secret})
    closed = results.study.model_copy(update={"scenarios": (private,)})
    text = render(Results(closed, results.runs))
    assert "scans.npz" not in text
    assert "[a file of the user]" in text


def test_a_place_that_cannot_be_written_is_one_clear_error(study: Maker, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot use"):
        write_report(study(), tmp_path / "nowhere" / "x.html")


def test_colors_come_from_the_page(study: Maker) -> None:
    drawings = re.findall(r"<svg.*?</svg>", render(study()), flags=re.DOTALL)
    assert len(drawings) == 4
    assert all("var(--series-0)" in drawing for drawing in drawings)
    assert not any("#0102" in drawing for drawing in drawings)
