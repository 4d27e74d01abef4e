from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asepsis.core import catalog
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build, entries, find, lookup, register, unregister


def test_the_catalog_is_up_to_date() -> None:
    path = Path(catalog.PACKAGE) / "catalog.json"
    assert path.read_text(encoding="utf-8") == catalog.render(), (
        "run: python -m asepsis.core.catalog"
    )


def test_every_component_of_the_catalog_loads_and_builds_without_options() -> None:
    for entry in entries():
        needs_a_path = entry.kind == "dataset" and entry.name in ("npz", "csv", "image-folder")
        if entry.origin == "asepsis" and not needs_a_path:
            assert lookup(entry.kind, entry.name)() is not None


def test_every_component_says_what_it_is_where_from_and_how_sure() -> None:
    for entry in entries():
        if entry.origin == "asepsis" and entry.kind not in ("dataset", "model", "partition"):
            assert entry.summary.endswith("."), entry
            assert entry.paper, entry
            assert entry.fidelity in ("code", "paper", "abstract", "own"), entry


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from asepsis.cli.main import app; from asepsis.cli.shelf import shelf;"
        "shelf('attacks'); assert 'torch' not in sys.modules; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'krum'"):
        find("aggregator", "kurm")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"f": "2"}, r"defenses\[0\]\.f: .*valid integer.*got '2'"),
        ({"f": -1}, "greater than or equal to 0"),
        ({"f": float("nan")}, "f:"),
        ({"ff": 1}, "unknown option; did you mean 'f'"),
        ({"f": True}, "valid integer"),
    ],
)
def test_options_are_strict(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("aggregator", {"name": "krum", **options}, "defenses[0]")


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build("trainer", {"name": "sgd", "lr": "fast", "momentum": 2.0, "stepz": 3}, "trainer")
    text = str(caught.value)
    assert "trainer.lr" in text
    assert "trainer.momentum" in text
    assert "trainer.stepz" in text


def test_two_classes_cannot_take_one_name() -> None:
    @register("aggregator", "taken")
    class First:
        pass

    try:
        with pytest.raises(ConfigError, match="registered twice"):

            @register("aggregator", "taken")
            class Second:
                pass
    finally:
        unregister("aggregator", "taken")
