"""The HTML report in a real browser: it loads, draws, sorts, and fits a telephone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from xml.etree import ElementTree

import pytest

import asepsis
from asepsis.experiments.results import load_results
from asepsis.report.export import export
from asepsis.report.html import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

STUDY: dict[str, Any] = {
    "name": "browser",
    "title": "A small study",
    "seeds": [0, 1],
    "scenarios": [
        {
            "title": "health records",
            "experiment": {
                "dataset": "breast-cancer",
                "trainer": {"name": "sgd", "steps": 2},
                "federation": {"hospitals": 6, "rounds": 6},
                "threat": {"hostile": 1, "starts_at": 2},
            },
            "over": {
                "attack": ["none", "badnets", {"name": "ipm", "epsilon": 9.0}],
                "defenses": [["mean"], ["median"], [{"name": "krum", "f": 1}]],
            },
        },
        {
            "title": "a curious server",
            "seeds": [0],
            "experiment": {
                "dataset": {"name": "phantom", "n": 200},
                "partition": "iid",
                "model": "lenet-sigmoid",
                "trainer": {"name": "sgd", "batch_size": 1, "steps": 1},
                "federation": {"hospitals": 3, "rounds": 1},
                "attack": "dlg",
            },
        },
    ],
}


def _impossible(reason: str) -> NoReturn:
    """Skip; but continuous integration must not pass without a browser."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _impossible("playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        _impossible("there is no chromium on the PATH")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("browser") / "out"
    return write_report(asepsis.run(STUDY, out=out), out / "report.html")


@contextmanager
def opened(browser: Browser, report: Path, width: int, scheme: Any = "light") -> Iterator[Page]:
    """Open the report; whatever the page complains about or asks for fails the test."""
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("data:", report.as_uri()))
            else complaints.append(f"asks for {request.url}")
        ),
    )
    page.goto(report.as_uri())
    yield page
    page.close()
    assert complaints == []


def test_the_page_loads_without_complaint(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280) as page:
        assert page.title() == "A small study"
        assert page.locator("h1").inner_text() == "A small study"
        for title in ("health records", "a curious server"):
            assert page.locator("h2", has_text=title).is_visible()


def test_plots_and_pictures_are_drawn(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280) as page:
        plots = page.locator("svg")
        assert plots.count() >= 2
        for number in range(plots.count()):
            box = plots.nth(number).bounding_box()
            assert box is not None
            assert box["width"] > 200
            assert box["height"] > 100
        assert page.locator("svg path").count() > 10
        pictures = page.locator("img")
        assert pictures.count() >= 2
        for number in range(pictures.count()):
            assert pictures.nth(number).evaluate("it => it.complete && it.naturalWidth > 0")


def test_no_two_elements_share_an_id(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280) as page:
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(it => it.id)")
        assert len(ids) == len(set(ids))
        wanted = page.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].map(it => it.hash)"
        )
        assert wanted
        assert {anchor[1:] for anchor in wanted} <= set(ids)


def test_every_table_sorts_on_click(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280) as page:
        tables = page.locator("table.sortable")
        assert tables.count() >= 2
        for number in range(tables.count()):
            table = tables.nth(number)
            heads = table.locator("thead th button")
            moved = 0
            for column in range(heads.count()):
                # By script: a table inside a closed <details> cannot be clicked by hand.
                before = orders(table, column)
                heads.nth(column).evaluate("it => it.click()")
                up = orders(table, column)
                assert up == sorted_as_promised(before, down=False)
                heads.nth(column).evaluate("it => it.click()")
                down = orders(table, column)
                assert down == sorted_as_promised(before, down=True)
                moved += up != down
            if table.locator("tbody tr").count() > 1:
                assert moved, "no column of this table tells its rows apart"


def orders(table: Any, column: int) -> list[str]:
    found: list[str] = table.locator(f"tbody tr td:nth-child({column + 1})").evaluate_all(
        "cells => cells.map(it => it.dataset.order)"
    )
    return found


def sorted_as_promised(keys: list[str], *, down: bool) -> list[str]:
    """Numbers as numbers, text as text, what is unknown last either way."""
    known = [key for key in keys if key not in ("", "nan")]
    try:
        known.sort(key=float, reverse=down)
    except ValueError:
        known.sort(key=str.lower, reverse=down)
    return known + [key for key in keys if key in ("", "nan")]


def test_a_head_is_clicked_by_mouse_and_by_keyboard(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280) as page:
        head = page.locator("table.sortable:visible").first.locator("thead th").first
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == "descending"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768])
def test_nothing_sticks_out_of_a_narrow_screen(
    browser: Browser, report: Path, width: int, scheme: str
) -> None:
    with opened(browser, report, width, scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true; })")
        sizes = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
        assert max(sizes) <= width


CONTRAST = """() => {
    const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => {
        const [r, g, b] = rgb.slice(0, 3).map((value) => {
            const part = value / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (it) => {
        for (let here = it; here; here = here.parentElement) {
            const color = numbers(getComputedStyle(here).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return numbers(getComputedStyle(document.documentElement).backgroundColor);
    };
    return [...document.querySelectorAll('p, td, th, h1, h2, h3, li, figcaption, summary')]
        .filter((it) => it.innerText.trim())
        .map((it) => {
            const one = light(numbers(getComputedStyle(it).color)), two = light(ground(it));
            const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
            return [ratio, it.innerText.trim().slice(0, 40)];
        });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(browser: Browser, report: Path, scheme: str) -> None:
    """The contrast that the Web Content Accessibility Guidelines ask for (level AA)."""
    with opened(browser, report, 1280, scheme) as page:
        found = page.evaluate(CONTRAST)
    assert len(found) > 50
    assert [(ratio, text) for ratio, text in found if ratio < 4.5] == []


QUESTIONS = ("attacked", "broke", "held", "leaks", "cost", "sure", "not known")


@pytest.mark.parametrize(("width", "height"), [(1200, 800), (390, 844)])
def test_the_first_screen_answers_every_question(
    browser: Browser, report: Path, width: int, height: int
) -> None:
    with opened(browser, report, width) as page:
        page.set_viewport_size({"width": width, "height": height})
        points = page.locator(".brief > div")
        assert points.count() == len(QUESTIONS)
        for number, word in enumerate(QUESTIONS):
            assert word in points.nth(number).locator("dt").inner_text()
            assert points.nth(number).locator("dd").inner_text().strip()
        box = points.last.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height


def test_maps_say_the_same_without_color(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280) as page:
        fields = page.locator("table.heat tbody td:not(:first-child), table.map td")
        assert fields.count() > 9
        assert all(text.strip() for text in fields.all_inner_texts())


def test_tables_and_plots_can_be_kept_without_a_network(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280) as page:
        tables, plots = page.locator(".scroll > table"), page.locator(".plots svg")
        assert page.locator("button.save", has_text="CSV").count() == tables.count()
        assert page.locator("button.save", has_text="SVG").count() == plots.count()
        with page.expect_download() as begun:
            page.locator("[data-file='s0-findings']").locator("..").locator(
                "+ button.save"
            ).evaluate("it => it.click()")
        name = begun.value.suggested_filename
        assert name == "s0-findings.csv"
        saved = begun.value.path().read_text(encoding="utf-8")
        with page.expect_download() as begun:
            page.locator(".plots svg + button.save").first.press("Enter")
        drawn = ElementTree.fromstring(begun.value.path().read_text(encoding="utf-8"))
        assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in ElementTree.tostring(drawn, encoding="unicode")
    files = {
        path.name: path for path in export(load_results(report.parent), report.parent / "files")
    }
    assert saved == files[name].read_text(encoding="utf-8")


def test_it_prints_unfolded_and_light(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280, "dark") as page:
        assert page.pdf().startswith(b"%PDF-")
        page.emulate_media(media="print")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)"
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        folded = page.locator("details:not([open])")
        assert folded.count() == 0
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert folded.count() > 0


def test_every_recipe_opens_by_keyboard(browser: Browser, report: Path) -> None:
    with opened(browser, report, 1280) as page:
        fold = page.locator("details.again").first
        fold.locator("summary").press("Enter")
        assert "asepsis run s0.toml" in fold.inner_text()
        assert "[[scenarios]]" in fold.inner_text()
