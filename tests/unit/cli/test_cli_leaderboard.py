"""``asepsis leaderboard`` as a user gets it, over folders of which some cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_command import asepsis, refused

import asepsis as package

STUDY = {
    "dataset": "breast-cancer",
    "trainer": {"name": "sgd", "steps": 4, "lr": 0.5},
    "federation": {"hospitals": 5, "rounds": 4},
    "threat": {"hostile": 1, "knows_defense": True},
    "over": {"attack": ["none", "ipm", "adaptive"], "defenses": [["mean"], ["median"]]},
    "seeds": [0, 1, 2],
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shelf")
    package.run(STUDY, out=root / "mine" / "monday")
    (root / "empty").mkdir()
    for name, content in (("text", "no JSON"), ("list", "[]"), ("table", '{"study": {}}')):
        (root / name).mkdir()
        (root / name / "study.json").write_text(content)
    (root / "mine" / "link").symlink_to(root / "mine" / "monday")
    return root


def test_every_defense_is_there_with_its_worst_case(shelf: Path) -> None:
    done = asepsis("leaderboard", str(shelf), "--json")
    assert done.code == 0
    found = json.loads(done.out)
    (table,) = found["tables"]
    assert {entry["defense"] for entry in table["defenses"]} == {"mean", "median"}
    assert table["folders"] == ["monday"]
    assert all(entry["adaptive_tried"] for entry in table["defenses"])
    assert all(entry["exploratory"] for entry in table["defenses"])
    assert table["attacks"] == ["ipm", "adaptive"]


def test_the_tables_fit_into_eighty_columns(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = asepsis("leaderboard", str(shelf / "mine")).out
    assert "…" not in shown
    assert "worst case" in shown
    assert "mean: exploratory" in shown
    assert max(len(line) for line in shown.splitlines() if "│" in line) <= 80


def test_what_cannot_be_read_is_listed_and_not_fatal(shelf: Path) -> None:
    found = json.loads(asepsis("leaderboard", str(shelf), "--json").out)
    assert [item["folder"] for item in found["not_read"]] == ["list", "table", "text"]
    shown = asepsis("leaderboard", str(shelf))
    assert shown.code == 0
    assert "not read: text: the study's plan is damaged" in shown.out


def test_a_metric_that_nobody_measured_ranks_nobody(shelf: Path) -> None:
    found = json.loads(asepsis("leaderboard", str(shelf), "--metric", "psnr", "--json").out)
    assert all(e["rank"] is None for table in found["tables"] for e in table["defenses"])


def test_an_empty_place_says_so(shelf: Path) -> None:
    done = asepsis("leaderboard", str(shelf / "empty"))
    assert (done.code, done.out.strip()) == (0, "no results with figures here")
    assert "no such folder" in refused(asepsis("leaderboard", str(shelf / "nowhere")))
