"""A disk that is full, or that may not be written, under each kind of file by itself.

A tiny file system lies over one part of the results folder, so that the operating system itself
refuses.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from kills import SCENARIOS, differences, left_in

import asepsis
from asepsis.cli.main import main
from asepsis.core.errors import StoreError
from asepsis.experiments import run as run_module
from asepsis.experiments.ledgers import verify_run
from asepsis.experiments.results import load_results
from asepsis.experiments.store import Store, read_record, read_tensors
from asepsis.experiments.sweep import Progress

Mount = Callable[[Path, str], None]
Whole = Callable[[str], dict[str, Any]]
PAGE = os.sysconf("SC_PAGE_SIZE")
SLOW = ("watched",)
KINDS = [  # scenario, part of the folder, pages that are free
    ("watched", "prefixes", 0),
    ("watched", "prefixes", 2),
    ("watched", "traces", 0),
    ("watched", "artifacts", 0),
    ("watched", "artifacts", 3),
    ("ledger", "runs", 0),
    ("ledger", "runs", 2),
    ("ledger", "checkpoints", 0),
    ("ledger", "ledgers", 0),
    ("ledger", "ledgers", 2),
]


def marked(*what: Any) -> Any:
    """Mark what takes long."""
    return pytest.param(*what, marks=[pytest.mark.slow] if what[0] in SLOW else [])


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Lay a small file system over a folder; what lay there comes back in the end."""
    command = shutil.which("mount")
    done: list[Path] = []

    def mounted(where: Path, options: str) -> None:
        words = [str(command), "-t", "tmpfs", "-o", options, "none", str(where)]
        if command is None or subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system is not allowed here")
        done.append(where)

    yield mounted
    for where in reversed(done):
        if where.is_mount():
            subprocess.run(["umount", str(where)], check=True)


def grown(where: Path) -> None:
    """Give a small file system space, as somebody does who clears up; what lies there stays."""
    subprocess.run(["mount", "-o", "remount,rw,size=50m", str(where)], check=True)


@pytest.fixture(autouse=True)
def _checkpoints_after_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(run_module, "WRITING", math.inf)


def played(scenario: str, out: Path, **options: Any) -> None:
    table = SCENARIOS[scenario]
    asepsis.run(table, out=out, engine="serial", jobs=1, resume=True, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What undisturbed runs leave."""

    @cache
    def left(scenario: str) -> dict[str, Any]:
        out = tmp_path_factory.mktemp(scenario) / "out"
        played(scenario, out)
        return left_in(out)

    return left


def readable(store: Store) -> None:
    """All that was written can be read."""
    for path in store.root.rglob("*.safetensors"):
        assert read_tensors(path) is not None
    for path in store.root.rglob("*.jsonl"):
        if path.parent.name != "ledgers":
            assert not path.stat().st_size or read_record(path)[0]["type"] == "header"


@pytest.mark.parametrize(("scenario", "part", "free"), [marked(*kind) for kind in KINDS])
def test_a_full_disk_is_one_message_and_loses_nothing(
    tmp_path: Path, mount: Mount, whole: Whole, scenario: str, part: str, free: int
) -> None:
    out = tmp_path / "out"
    store = Store(out).open()
    where = out / part
    where.mkdir(exist_ok=True)
    mount(where, f"size={(free + 1) * PAGE}")
    (where / "ballast").write_bytes(b"x" * PAGE)
    with pytest.raises(StoreError) as caught:
        played(scenario, out)
    told = str(caught.value)
    assert "No space left on device" in told
    assert str(where) in told
    assert "free some space and go on with --resume" in told
    readable(store)
    if part == "ledgers" and free:
        (verdict,) = (found for found in verify_run(store).values() if found.findings)
        assert {found.kind for found in verdict.findings} == {"unreadable", "truncated"}
        assert verdict.findings[0].message.endswith("it is cut off")  # and before it all is well
    (where / "ballast").unlink()
    grown(where)
    played(scenario, out)
    assert differences(left_in(out), whole(scenario)) == []


@pytest.mark.parametrize(
    ("scenario", "part"), [marked(*kind) for kind in sorted({kind[:2] for kind in KINDS})]
)
def test_a_part_that_may_not_be_written_is_one_message_and_loses_nothing(
    tmp_path: Path, mount: Mount, whole: Whole, scenario: str, part: str
) -> None:
    """It becomes read-only while the run plays."""
    out = tmp_path / "out"
    where = Store(out).open().root / part
    where.mkdir(exist_ok=True)
    covered: list[Path] = []

    def cover(progress: Progress) -> None:
        if not covered:
            mount(where, "ro")
            covered.append(where)

    with pytest.raises(StoreError) as caught:
        played(scenario, out, listener=cover)
    told = str(caught.value)
    assert "Read-only file system" in told
    assert "make it writable and go on with --resume" in told
    subprocess.run(["umount", str(where)], check=True)
    played(scenario, out)
    assert differences(left_in(out), whole(scenario)) == []


def ended(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """Run the command line; return its one message."""
    monkeypatch.setattr(sys, "argv", ["asepsis", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    told = capsys.readouterr()
    assert caught.value.code == 2
    assert told.err.count("asepsis: ") == 1
    assert "Traceback" not in told.err
    return told.err


def test_a_folder_that_may_only_be_read_is_read_and_never_written(
    tmp_path: Path,
    mount: Mount,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount(disk, "size=20m")
    played("ledger", disk / "out")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    before = left_in(disk)
    assert load_results(disk / "out").frame()["status"].tolist() == ["success"] * 2
    assert all(not found.findings for found in verify_run(Store(disk / "out")).values())
    assert "Read-only file system" in ended(capsys, monkeypatch, "report", str(disk / "out"))
    for place, says in (("out", "may not be written"), ("new", "no results folder can be made")):
        with pytest.raises(StoreError, match=says):
            played("ledger", disk / place)
    assert left_in(disk) == before


def filled(disk: Path) -> None:
    """Write until nothing more fits."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * PAGE)


def test_a_report_that_does_not_fit_is_written_when_it_does(
    tmp_path: Path,
    mount: Mount,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount(disk, "size=20m")
    out = disk / "out"
    played("ledger", out)
    before = left_in(out)
    with pytest.raises(OSError, match="No space"):
        filled(disk)
    assert "No space left on device" in ended(capsys, monkeypatch, "report", str(out))
    assert left_in(out) == before
    (disk / "ballast").unlink()
    monkeypatch.setattr(sys, "argv", ["asepsis", "report", str(out)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert left_in(out).keys() - before.keys() == {"report.html"}


@pytest.mark.parametrize("name", ["study.json", ".lock"])
def test_a_disk_that_is_full_from_the_start_is_one_message(
    tmp_path: Path, mount: Mount, whole: Whole, name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    # Folders and an empty lock need no page; without inodes not even a lock can be made.
    mount(out, f"size={PAGE}" if name == "study.json" else "nr_inodes=7")
    if name == "study.json":
        (out / "ballast").write_bytes(b"x" * PAGE)
    with pytest.raises(StoreError, match="No space left on device"):
        played("ledger", out)
    assert not (out / "study.json").exists()
    (out / "ballast").unlink(missing_ok=True)
    subprocess.run(["mount", "-o", "remount,size=50m,nr_inodes=999", str(out)], check=True)
    played("ledger", out)
    assert differences(left_in(out), whole("ledger")) == []
