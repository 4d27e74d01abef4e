"""The same from Python: ``asepsis.run`` and ``asepsis.sweep``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_command import toml

import asepsis
from asepsis.core.errors import AsepsisError, ConfigError, StoreError


def table() -> dict[str, Any]:
    return {
        "dataset": "breast-cancer",
        "trainer": {"name": "sgd", "steps": 2},
        "threat": {"hostile": 2},
        "federation": {"hospitals": 5, "rounds": 2},
    }


def test_a_run_is_a_row() -> None:
    frame = asepsis.run(table()).frame()
    assert len(frame) == 1
    assert frame["status"].tolist() == ["success"]
    assert 0 <= frame["balanced_accuracy"][0] <= 1


def test_a_table_is_not_changed_by_running_it() -> None:
    given = table()
    asepsis.run(given, seeds=1, settings={"federation.rounds": 1})
    assert given == table()


def test_an_attacked_run_brings_its_twin_and_seeds_multiply() -> None:
    frame = asepsis.run({**table(), "attack": "ipm"}, seeds=[3, 8]).frame()
    assert sorted(zip(frame["attack"], frame["seed"], strict=True)) == [
        ("ipm", 3),
        ("ipm", 8),
        ("none", 3),
        ("none", 8),
    ]


def test_a_sweep_has_a_row_for_every_combination() -> None:
    over: dict[str, list[Any]] = {"attack": ["none", "ipm"], "trainer.lr": [0.1]}
    over["defenses"] = [["mean"], ["median"]]
    frame = asepsis.sweep(table(), over).frame()
    assert len(frame) == 4
    assert set(zip(frame["attack"], frame["defense"], strict=True)) == {
        ("none", "mean"),
        ("none", "median"),
        ("ipm", "mean"),
        ("ipm", "median"),
    }
    assert set(frame["trainer.lr"]) == {"0.1"}


def test_a_file_and_a_table_give_the_same_figures(tmp_path: Path) -> None:
    one = asepsis.run(toml(tmp_path)).frame()
    two = asepsis.run({**table(), "attack": "ipm"}).frame()
    drop = ["seconds_per_round", "scenario"]
    assert one.drop(columns=drop).equals(two.drop(columns=drop))


def test_results_are_kept_where_asked_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asepsis.run(table())
    assert list(tmp_path.iterdir()) == []
    asepsis.run(table(), out=tmp_path / "out")
    assert len(list((tmp_path / "out/runs").iterdir())) == 1
    with pytest.raises(StoreError, match="already holds results"):
        asepsis.run(table(), out=tmp_path / "out")
    assert len(asepsis.run(table(), out=tmp_path / "out", resume=True).frame()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs"),
        ({"engine": "thread"}, "did you mean 'threads'"),
        ({"device": "toaster"}, "device"),
        ({"seeds": []}, "seeds"),
        ({"settings": {"federation.rouns": 3}}, "did you mean 'rounds'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asepsis.run(table(), **options)


def test_a_cohort_too_small_for_the_rule_is_refused() -> None:
    with pytest.raises(AsepsisError, match="largest f that fits is 1"):
        asepsis.run({**table(), "defenses": [{"name": "krum", "f": 3}]})


@pytest.mark.slow
def test_a_plain_script_needs_no_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import asepsis\n"
        f"over = {{'defenses': [['mean'], ['median']]}}\n"
        f"print(len(asepsis.sweep({table()!r}, over).frame()))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stdout == "2\n", done.stderr
