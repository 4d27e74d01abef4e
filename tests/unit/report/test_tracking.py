"""What trackers are told of runs, and the files that TensorBoard reads."""

from __future__ import annotations

import math
import stat
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_study import make

from asepsis.core.errors import MissingExtraError
from asepsis.experiments.results import Results
from asepsis.report.event_file import FILE, EventFiles, crc32c, events
from asepsis.report.mlflow_log import Mlflow, _unusable, parts
from asepsis.report.tracking import Point, Told, told, track

RUN = Told("r", "T", "s", True, {"lr": "0.1"}, {"asepsis.protocol": "p"}, (Point("loss", 3, 0.5),))


class Kept:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[Told] = []

    def log(self, run: Told) -> bool:
        known = any(one.name == run.name for one in self.runs)
        self.runs.append(run)
        return not known


def one(results: Results, attack: str = "label-flip") -> Told:
    pairs = zip(results.runs, told(results), strict=True)
    return next(item for run, item in pairs if (run.cell.attack, run.cell.seed) == (attack, 1))


def test_every_run_is_told_once_with_its_labels() -> None:
    results, kept = make(), Kept()
    for number, run in enumerate(results.runs):
        run.lines[0]["result"]["digest"] = f"run{number}"
    assert track(results, kept) == (len(results.runs), 0)
    assert track(results, kept) == (0, len(results.runs))
    found = one(results)
    assert found.title == "chest X-rays: label-flip / mean, seed 1"
    assert found.tags["asepsis.protocol"] == "abcd"
    assert found.tags["asepsis.code"] == "0.1.0+abc"
    assert found.params["attack.name"] == "label-flip"
    assert found.params["defenses_0_.name"] == "mean"
    assert found.params["threat.hostile"] == "3"


def test_figures_are_told_by_round_and_in_the_end() -> None:
    points = one(make()).points
    curve = [(p.step, p.value) for p in points if p.name == "balanced_accuracy"]
    assert [step for step, _ in curve] == list(range(6))
    assert [value for _, value in curve] == pytest.approx([0.55] * 6)
    (tail,) = [p for p in points if p.name == "tail/balanced_accuracy"]
    assert tail.value == pytest.approx(0.55)


def test_what_is_not_estimable_and_what_nobody_did_is_not_told() -> None:
    results = make()
    for run in results.runs:
        run.rounds[0]["metrics"]["balanced_accuracy"] = math.nan
        run.footer["tail"]["auroc"] = math.inf
    for item in told(results):
        assert all(math.isfinite(point.value) for point in item.points)
        assert not any("floor" in point.name for point in item.points)
    assert [p.step for p in one(results).points if p.name == "balanced_accuracy"] == [1, 2, 3, 4, 5]


def test_no_place_and_no_name_of_a_hospital_or_class_is_told() -> None:
    results = make(hospitals=["St Canary", "Canary East"], classes=["canary", "none"])
    for run in results.runs:
        run.resolved["components"]["dataset"] = {"name": "npz", "path": "/home/canary/x.npz"}
        run.footer["message"] = "cannot read /home/canary/x.npz"
    assert "canary" not in str(list(told(results))).lower()


def test_a_run_that_has_not_begun_is_not_told() -> None:
    results = make(broken="no memory")
    assert len(list(told(results))) == len(results.runs) - 3


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"") == 0
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes([0xFF] * 32)) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_an_event_file_is_records_with_the_right_lengths_and_sums() -> None:
    rest, contents = events(RUN), []
    while rest:
        (length,) = struct.unpack("<Q", rest[:8])
        head, body, tail = rest[8:12], rest[12 : 12 + length], rest[12 + length : 16 + length]
        for text, kept in ((rest[:8], head), (body, tail)):
            found = crc32c(text)
            masked = ((found >> 15 | found << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32
            assert struct.pack("<I", masked) == kept
        contents.append(body)
        rest = rest[16 + length :]
    assert len(contents) == 3
    assert b"brain.Event:2" in contents[0]
    assert b"| lr | 0.1 |" in contents[1]
    value = b"\x0a\x04loss\x15" + struct.pack("<f", 0.5)  # tag = 1, simple_value = 2
    assert contents[2].endswith(b"\x10\x03\x2a" + bytes([len(value) + 2, 10, len(value)]) + value)


def test_event_files_are_private_and_name_no_machine(tmp_path: Path) -> None:
    files = EventFiles(tmp_path / "log")
    assert files.log(RUN)
    assert not files.log(RUN)
    assert files.log(replace(RUN, points=()))
    (path,) = [item for item in (tmp_path / "log").rglob("*") if item.is_file()]
    assert path.name == FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_run_name_is_no_path(tmp_path: Path) -> None:
    EventFiles(tmp_path / "log").log(replace(RUN, name="../../out"))
    assert {item.name for item in tmp_path.iterdir()} == {"log"}


def test_names_are_not_markup(tmp_path: Path) -> None:
    content = events(replace(RUN, title="<img src=x>[a](http://b)|"))
    assert b"<img" not in content
    assert b"[a](" not in content


def test_without_mlflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"asepsis\[mlflow\]"):
        Mlflow("sqlite://")


def test_nothing_is_lost_where_a_list_is_cut() -> None:
    whole: list[Any] = list(range(2501))
    cut = list(parts(whole, 1000))
    assert [len(some) for some in cut] == [1000, 1000, 501]
    assert [item for some in cut for item in some] == whole


def test_a_message_about_a_store_holds_no_password() -> None:
    error = _unusable(ValueError("request to https://eva:secret@host/api failed"))
    assert "secret" not in str(error)
    assert "https://host/api" in str(error)
    assert "ValueError" in str(_unusable(ValueError()))
