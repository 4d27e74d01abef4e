"""The documentation site: every component has its page, nothing comes from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import component_pages
import docs_site
from asepsis.core.registry import build, catalog
from asepsis.experiments.plan import study_from

ROOT = Path(__file__).resolve().parents[2]
LOADING = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """Every generated page of a component or a room."""
    return component_pages.pages()


def test_every_component_has_a_page_and_a_place_in_the_navigation(made: dict[str, str]) -> None:
    told = re.findall(r"'(components/[^']+)'", str(component_pages.navigation()))
    assert sorted(told) == sorted(made)
    assert len(told) == len(set(told))
    assert {component_pages.place_of(entry) for entry in catalog()} <= set(made)


def test_every_page_says_what_the_component_is(made: dict[str, str]) -> None:
    for entry in catalog():
        page = made[component_pages.place_of(entry)]
        assert page.startswith(f"# {entry.name}\n")
        assert component_pages.prose(entry.summary) in page
        assert component_pages.prose(entry.paper) in page
        assert f"{entry.fidelity}: " in page
        assert ">>> " in page


def test_every_snippet_is_an_experiment_that_names_the_component(made: dict[str, str]) -> None:
    for entry in catalog():
        page = made[component_pages.place_of(entry)]
        (text,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        table = tomllib.loads(text)
        study_from(tomllib.loads(text), "shown")
        (named,) = found(table, entry.name)
        when = {"when", "sees"} if "observe" in table else set()
        build(entry.kind, {key: value for key, value in named.items() if key not in when})


def found(value: object, name: str) -> list[dict[str, object]]:
    """Return the tables with this name, wherever they lie."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    here = [value] if isinstance(value, dict) and value.get("name") == name else []
    return here + [table for item in inner for table in found(item, name)]


def test_what_a_docstring_says_is_escaped() -> None:
    text = "a <script> & [link](x) of _n_ but ``x[i] < 3 & y`` and :func:`~a.b.c`"
    assert component_pages.prose(text) == (
        r"a &lt;script&gt; &amp; \[link\](x) of \_n\_ but ``x[i] < 3 & y`` and ``a.b.c``"
    )


def test_bounds_and_choices_are_told_in_words() -> None:
    words = component_pages.words
    assert words({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, {}) == "number, > 0, ≤ 1"
    assert words({"enum": ["a", "b"]}, {}) == '`"a"`, `"b"`'
    either = {"anyOf": [{"type": "integer", "minimum": 2}, {"type": "null"}]}
    assert words(either, {}) == "integer, ≥ 2; or none"
    listed = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    assert words(listed, {}) == "list of integers (≥ 0)"


@pytest.mark.parametrize(
    ("place", "text", "shown"),
    [
        ("index.md", "[a](docs/studies/x.md)", "[a](studies/x.md)"),
        ("index.md", "![a](docs/x.png)", "![a](x.png)"),
        ("index.md", "[a](examples)", "[a](examples.md)"),
        ("index.md", "[`a`](docs/a.md), `b`", "[`a`](a.md), `b`"),
        ("index.md", "[CITATION.cff](CITATION.cff)", "CITATION.cff"),
        ("studies/x.md", "[a](../../README.md)", "[a](../index.md)"),
        ("studies/x.md", "[a](../limits.md#data)", "[a](../limits.md#data)"),
        ("contributing.md", "[a](docs/architecture.md)", "[a](architecture.md)"),
        ("index.md", "`rows[0](docs/x)` [a](#here)", "`rows[0](docs/x)` [a](#here)"),
    ],
)
def test_links_between_files_become_links_between_pages(place: str, text: str, shown: str) -> None:
    assert docs_site.relinked(text, place) == shown


class Page(HTMLParser):
    """What a page loads, where it leads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag in LOADING and LOADING[tag] in given:
            self.loads.append(given[LOADING[tag]])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The whole site, built strictly, in a folder of its own."""
    pytest.importorskip("material", reason="needs pip install 'asepsis[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {path: Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: dict[Path, Page]) -> None:
    assert len(site) > len(catalog())
    for path, page in site.items():
        assert page.loads, path
        assert [url for url in page.loads if urlsplit(url).netloc] == [], path
        assert not re.search(r"class=\"[^\"]*mermaid", path.read_text(encoding="utf-8")), path
    for style in Path(os.path.commonpath(site)).rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), (
            style
        )


@pytest.mark.slow
def test_no_link_of_the_site_is_dead(site: dict[Path, Page]) -> None:
    for path, page in site.items():
        if path.name == "404.html":
            continue  # served at any address, so that its links begin at the root
        for url in (*page.links, *page.loads):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.name} -> {url}"
            if parts.fragment and target in site:
                assert unquote(parts.fragment) in site[target].anchors | {"__skip"}, url
