"""Data that no federation can be made of: one clear message each, and fast."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import asepsis
from asepsis.core.errors import AsepsisError
from asepsis.data.datasets.user_csv import Csv
from asepsis.data.tables import MAX_COLUMNS, MAX_HEADER, read_header


def fails(dataset: dict[str, Any], words: str, **more: Any) -> None:
    table = {"dataset": dataset, "federation": {"hospitals": "all", "rounds": 1}, **more}
    with pytest.raises(AsepsisError, match=words):
        asepsis.run(table)


def wide(path: Path, columns: int, rows: int) -> Path:
    """Write a table of ones."""
    with path.open("w") as file:
        file.write(",".join(f"c{k}" for k in range(columns)) + ",target\n")
        for _ in range(rows):
            file.write(",".join(["1"] * columns) + ",1\n")
    return path


def test_a_hundred_thousand_columns(tmp_path: Path) -> None:
    path = wide(tmp_path / "wide.csv", 100_000, 1)
    with path.open("ab") as file:
        file.truncate(2**29)  # rows nobody needs to read
    began = time.monotonic()
    with pytest.raises(AsepsisError, match=f"more than {MAX_COLUMNS} columns.*100001.*npz"):
        Csv(path=str(path)).load()
    assert time.monotonic() - began < 2


def test_a_header_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "endless.csv"
    path.write_bytes(b"x," * MAX_HEADER)
    with path.open("ab") as file:
        file.truncate(2**29)
    began = time.monotonic()
    with pytest.raises(AsepsisError, match=f"more than {MAX_COLUMNS} columns.*first line of over"):
        Csv(path=str(path)).load()
    assert read_header(path) == ()
    assert time.monotonic() - began < 2


def saved(tmp_path: Path, **arrays: Any) -> str:
    rng = np.random.default_rng(0)
    known = {"images": rng.normal(size=(60, 3)), "labels": np.arange(60) % 2}
    np.savez(tmp_path / "mine.npz", **{**known, **arrays})
    return str(tmp_path / "mine.npz")


def test_one_site_only(tmp_path: Path) -> None:
    path = saved(tmp_path, where=np.full(60, "here"))
    site = {"partition": "site"}
    fails(
        {"name": "npz", "path": path, "sites": "where"}, "one site alone is no federation", **site
    )
    fails({"name": "npz", "path": path}, "npz knows no sites", **site)


def test_one_class_only(tmp_path: Path) -> None:
    path = saved(tmp_path, labels=np.zeros(60, int))
    more = {"partition": "iid", "federation": {"hospitals": 2, "rounds": 1}}
    fails({"name": "npz", "path": path}, "all samples are of one class", **more)


def test_labels_out_of_range(tmp_path: Path) -> None:
    path = saved(tmp_path, names=np.array(["ill", "well"]), labels=np.arange(60) % 3)
    fails({"name": "npz", "path": path, "classes": "names"}, "targets do not fit 2 classes")
