"""``asepsis compare`` as a user gets it: figures and exit code 0, a refusal and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_command import asepsis, refused, toml

import asepsis as package


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same federation under two stacks, and one with another learning rate."""
    root = tmp_path_factory.mktemp("results")
    changes = {
        "first": {"defenses": '["mean"]'},
        "second": {"defenses": '["mean"]'},
        "median": {"defenses": '["median"]'},
        "other": {"trainer": '{ name = "sgd", steps = 2, lr = 0.5 }', "defenses": '["mean"]'},
    }
    for name, change in changes.items():
        folder = root / f"{name}-toml"
        folder.mkdir()
        package.run(toml(folder, **change), seeds=3, out=root / name)
    return {name: root / name for name in changes}


def test_the_same_twice_is_alike(folders: dict[str, Path]) -> None:
    done = asepsis("compare", str(folders["first"]), str(folders["second"]), "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert [item["cell"] for item in found["compared"]] == ["none / mean", "ipm / mean"]
    assert all(item["difference"] == 0 for item in found["compared"])
    assert found["refused"] == found["only_in_a"] == found["only_in_b"] == []


def test_the_tables_fit_into_eighty_columns(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    place = str(folders["first"])
    shown = asepsis("compare", place, place).out.split("95% intervals")[0]
    assert "…" not in shown
    assert ": balanced accuracy" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_another_protocol_is_refused_with_the_reason(folders: dict[str, Path]) -> None:
    done = asepsis("compare", str(folders["first"]), str(folders["other"]))
    assert done.code == 2
    assert "the protocols differ" in done.out
    assert "trainer.lr: 0.05 (A), 0.5 (B)" in done.out
    assert "nothing can be compared" in done.out


def test_two_cells_are_compared_by_name(folders: dict[str, Path]) -> None:
    sides = f"{folders['first']}::ipm / mean", f"{folders['median']}::ipm / median"
    done = asepsis("compare", *sides, "--json")
    assert done.code == 0
    (found,) = json.loads(done.out)["compared"]
    assert found["seeds"] == [0, 1, 2]
    assert found["differs_in"] == [{"place": "defenses[0].name", "a": "mean", "b": "median"}]


def test_two_runs_are_compared_by_their_records(folders: dict[str, Path]) -> None:
    record = sorted((folders["first"] / "runs").glob("*.jsonl"))[0]
    done = asepsis("compare", str(record), str(record), "--json")
    assert done.code == 0
    (found,) = json.loads(done.out)["compared"]
    assert len(found["seeds"]) == 1
    assert found["p_holm"] is None


def test_nothing_that_only_one_has_is_compared(folders: dict[str, Path]) -> None:
    done = asepsis("compare", str(folders["first"]), str(folders["median"]))
    assert done.code == 2
    assert "only in A: mine: ipm / mean" in done.out
    assert "only in B: mine: ipm / median" in done.out


def test_no_results_is_one_message(tmp_path: Path) -> None:
    assert "no results here" in refused(asepsis("compare", str(tmp_path), str(tmp_path)))
