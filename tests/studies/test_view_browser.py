"""``asepsis view`` in a real browser: pages load without complaint, and reports work behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from test_browser import CONTRAST, browser, orders, sorted_as_promised
from view_shelf import HOSTILE, fill, serving

from asepsis.report.view import Viewer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
__all__ = ["browser"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    with serving(fill(tmp_path_factory.mktemp("view"))) as found:
        yield found


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser, server: Viewer) -> Iterator[Page]:
    """Open the index; whatever a page complains about or asks of another host fails the test."""
    opened = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=request.param)
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    opened.on("requestfailed", lambda asked: complaints.append(f"failed: {asked.url}"))
    opened.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith(("data:", server.url))
            else complaints.append(f"asks for {asked.url}")
        ),
    )
    opened.goto(server.url)
    yield opened
    opened.close()
    assert complaints == []


def fits(page: Page) -> bool:
    sizes: list[int] = page.evaluate(
        "[document.documentElement.scrollWidth, document.body.scrollWidth]"
    )
    return max(sizes) <= 390


def test_from_the_index_to_a_run_and_back(page: Page) -> None:
    assert fits(page)
    page.get_by_role("link", name="Plain").click()
    assert page.locator("h1").inner_text() == "Plain"
    assert fits(page)
    page.locator("td a").last.click()
    assert "seed 0" in page.locator("h1").inner_text()
    assert page.locator("table").count() >= 2
    assert fits(page)
    page.get_by_role("link", name="all results").click()
    assert page.locator("h1").inner_text() == "Results"


def test_the_style_is_there_and_text_stands_out(page: Page) -> None:
    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "1152px"
    found = page.evaluate(CONTRAST)
    assert len(found) >= 6
    assert [(ratio, text) for ratio, text in found if ratio < 4.5] == []


def test_tables_sort(page: Page) -> None:
    page.get_by_role("link", name="Plain").click()
    table = page.locator("table.sortable")
    before = orders(table, 2)
    table.locator("thead th button").nth(2).evaluate("it => it.click()")
    assert orders(table, 2) == sorted_as_promised(before, down=False)
    assert table.locator("thead th").nth(2).get_attribute("aria-sort") == "ascending"


def test_a_hostile_title_is_text(page: Page) -> None:
    link = page.get_by_role("link", name=HOSTILE)
    assert link.is_visible()
    link.click()
    assert page.locator("h1").inner_text() == HOSTILE


def test_a_report_still_draws_and_sorts_behind_its_stricter_policy(page: Page) -> None:
    page.get_by_role("link", name="report", exact=True).click()
    assert page.locator("h1").inner_text() == "Plain"
    head = page.locator("table.sortable").first.locator("thead th").first
    head.locator("button").evaluate("it => it.click()")  # the table may be folded away
    assert head.get_attribute("aria-sort") == "ascending"


def test_a_script_in_somebody_elses_report_does_not_run(browser: Browser, server: Viewer) -> None:
    ((key, study),) = [
        (key, study) for key, study in server.shelf.studies().items() if study.name == "mine/monday"
    ]
    path = study.place / "report.html"
    kept = path.read_bytes()
    path.write_text("<title>as it was</title><script>document.title = 'taken over'</script>")
    try:
        other = browser.new_page()
        other.goto(f"{server.url}{key}/report.html")
        assert other.title() == "as it was"
        other.close()
    finally:
        path.write_bytes(kept)
