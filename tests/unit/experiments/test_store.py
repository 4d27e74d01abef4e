from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch

from asepsis.core.errors import StoreError
from asepsis.experiments import store as store_module
from asepsis.experiments.locks import locked
from asepsis.experiments.store import (
    Record,
    Store,
    encode,
    read_tensors,
    record_lines,
    write_atomic,
    write_tensors,
)


def test_a_record_survives_the_round_trip_nan_included(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.jsonl", [{"type": "header"}])
    record.append({"type": "round", "result": {"a": math.nan, "b": math.inf, "c": 0.1}})
    lines = record_lines(tmp_path / "r.jsonl")
    assert math.isnan(lines[1]["result"]["a"])
    assert lines[1]["result"]["b"] == math.inf
    assert lines[1]["result"]["c"] == 0.1


def test_a_cut_off_line_is_left_out_at_every_byte(tmp_path: Path) -> None:
    whole = encode({"type": "header"}) + encode({"type": "round", "result": {"round": 0}})
    first = len(encode({"type": "header"}))
    path = tmp_path / "r.jsonl"
    for cut in range(first, len(whole)):
        path.write_text(whole[:cut])
        assert len(record_lines(path)) == (2 if cut == len(whole) - 1 else 1)


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"type":"header"}\n{"typ\n{"type":"footer"}\n')
    with pytest.raises(StoreError, match="line 2"):
        record_lines(path)


def test_results_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "out").open()
    store.write_plan({"cells": []})
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "out/study.json").stat().st_mode & 0o777 == 0o600


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--out DIR"):
        Store(tmp_path / "file" / "out").open()


def test_tensors_round_trip_and_corruption_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    write_tensors(path, {"row": torch.arange(3.0), "round": torch.tensor(4)})
    found = read_tensors(path)
    assert found is not None
    assert torch.equal(found["row"], torch.arange(3.0))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoreError, match="corrupt"):
        read_tensors(path)
    assert read_tensors(tmp_path / "none") is None


@pytest.mark.parametrize("most", [3000, 4010])
def test_tensors_that_could_not_be_read_again_are_refused_when_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Too large by their content of 4,000 bytes, or by what is written around it."""
    path, row = tmp_path / "c.safetensors", {"row": torch.zeros(1000)}
    write_tensors(path, {"row": torch.ones(1)})
    monkeypatch.setattr(store_module, "LARGEST_CHECKPOINT", most)
    with pytest.raises(StoreError, match="too large"):
        write_tensors(path, row)
    kept = read_tensors(path)
    assert kept is not None
    assert kept["row"].tolist() == [1.0]
    monkeypatch.setattr(store_module, "LARGEST_CHECKPOINT", 5000)
    write_tensors(path, row)
    assert read_tensors(path) is not None


def test_two_processes_cannot_write_to_one_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StoreError, match="another asepsis"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
