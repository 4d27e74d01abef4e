"""Results as tables: nothing is lost on the way to a file and back."""

from __future__ import annotations

import csv
import json
import math
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from report_study import make

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.experiments.frames import round_rows, run_rows, write_table

ROWS: list[dict[str, Any]] = [
    {"attack": "ipm", "seed": 0, "accuracy": 0.5, "asr": math.nan, "good": True},
    {"attack": "none", "seed": 1, "accuracy": 1, "good": False, "note": None},
]


def test_a_round_is_a_row_with_its_figures() -> None:
    results = make()
    frame = results.rounds_frame()
    assert len(frame) == 6 * len(results.runs)
    one = frame[(frame.attack == "label-flip") & (frame.defense == "mean") & (frame.seed == 2)]
    assert one["round"].tolist() == list(range(6))
    assert one.balanced_accuracy.tolist() == pytest.approx([0.57] * 6)
    assert one.hostile.tolist() == [0, 0, 1, 1, 1, 1]
    assert one.seconds.tolist() == pytest.approx([0.75] * 6)
    assert not any(str(name).startswith("floor/") for name in frame)


def test_a_run_is_a_row_as_it_was_before() -> None:
    results = make()
    (row,) = [
        row
        for row in run_rows(results.runs)
        if (row["attack"], row["defense"], row["seed"]) == ("label-flip", "mean", 1)
    ]
    assert row["balanced_accuracy"] == row["balanced_accuracy_last"] == pytest.approx(0.55)
    assert (row["status"], row["protocol"]) == ("success", "abcd")
    assert results.frame().shape[0] == len(results.runs)


def test_csv_tells_nan_from_nothing(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "t.csv", {})
    with (tmp_path / "t.csv").open(newline="") as file:
        one, other = csv.DictReader(file)
    assert (one["asr"], other["asr"]) == ("nan", "")
    assert (one["accuracy"], other["accuracy"]) == ("0.5", "1")
    assert stat.S_IMODE((tmp_path / "t.csv").stat().st_mode) == 0o600


def test_csv_keeps_every_digit(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1e-300, math.inf, -math.pi]
    write_table([{"value": value} for value in values], tmp_path / "t.csv", {})
    kept = (tmp_path / "t.csv").read_text().splitlines()[1:]
    assert [float(text) for text in kept] == values


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    write_table([{"=class": "=cmd|' /C calc'!A0", "value": -1.5}], tmp_path / "t.csv", {})
    assert (tmp_path / "t.csv").read_text() == "'=class,value\n'=cmd|' /C calc'!A0,-1.5\n"


def test_no_rows_are_a_file_too(tmp_path: Path) -> None:
    write_table([], tmp_path / "t.csv", {})
    assert (tmp_path / "t.csv").exists()


def test_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"use \.parquet or \.csv"):
        write_table(ROWS, tmp_path / "t.xlsx", {})
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"asepsis\[parquet\]"):
        write_table(ROWS, tmp_path / "t.parquet", {})
    assert list(tmp_path.iterdir()) == []


def test_parquet_comes_back_as_it_was(tmp_path: Path) -> None:
    files = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    write_table(ROWS, path, {"protocols": ["abcd"], "study": "s"})
    table = files.read_table(path)
    one, other = table.to_pylist()
    assert math.isnan(one["asr"])
    assert other["asr"] is None
    assert (one["accuracy"], other["accuracy"]) == (0.5, 1.0)
    assert (one["good"], other["good"], one["seed"]) == (True, False, 0)
    assert (one["note"], other["note"]) == (None, None)
    told = json.loads(table.schema.metadata[b"asepsis"])
    assert told == {"schema": 1, "protocols": ["abcd"], "study": "s"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_parquet_of_a_whole_study_is_what_the_frame_says(tmp_path: Path) -> None:
    files = pytest.importorskip("pyarrow.parquet")
    results = make(broken="no memory")
    for name, rows in (("runs", run_rows(results.runs)), ("rounds", round_rows(results.runs))):
        write_table(rows, tmp_path / f"{name}.parquet", {})
        kept = files.read_table(tmp_path / f"{name}.parquet").to_pylist()
        assert len(kept) == len(rows)
        for row, back in zip(rows, kept, strict=True):
            for key, value in row.items():
                same = back[key] == value or (value != value and back[key] != back[key])
                assert same, key
            assert all(back[key] is None for key in back if key not in row)
