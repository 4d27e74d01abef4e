"""Two processes on one results folder: one writes, the other is told who does."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from asepsis.core.errors import StoreError
from asepsis.experiments import locks as locks_module
from asepsis.experiments.locks import FOLDER, LOCKS, locked, run_locked


class Holder:
    """Another process that holds a lock until it is killed."""

    def __init__(self, kind: str, root: Path) -> None:
        ready, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                with locked(root) if kind == "folder" else run_locked(root, "abc"):
                    os.write(told, b"held")
                    time.sleep(60)
            finally:
                os._exit(1)
        assert os.read(ready, 4) == b"held"
        os.close(ready)
        os.close(told)
        self.alive = True

    def kill(self) -> None:
        """End it as ``kill -9`` does, and wait until it is gone."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.alive = False


@contextmanager
def holder(kind: str, root: Path) -> Iterator[Holder]:
    process = Holder(kind, root)
    try:
        yield process
    finally:
        process.kill()


def test_the_second_is_told_which_process_and_what_to_do(tmp_path: Path) -> None:
    with holder("folder", tmp_path) as other:
        with pytest.raises(StoreError) as caught, locked(tmp_path):
            pass
        told = str(caught.value)
        assert f"process {other.pid} on {platform.node()}" in told
        assert f"kill {other.pid}" in told
        assert "--out DIR" in told
        other.kill()
        with locked(tmp_path):  # what a killed process leaves behind bars nobody
            assert json.loads((tmp_path / FOLDER).read_text())["process"] == os.getpid()
    assert (tmp_path / FOLDER).read_bytes() == b""


def test_a_holder_on_another_host_is_named_and_not_killed_here(tmp_path: Path) -> None:
    with holder("folder", tmp_path):
        (tmp_path / FOLDER).write_text(json.dumps({"process": 7, "host": "ward-3"}))
        with pytest.raises(StoreError, match=r"process 7 on ward-3.*end it on ward-3"):
            locked(tmp_path).__enter__()


@pytest.mark.parametrize("note", [b"", b"\xff\x00", b"[]", b'{"process":"x","host":1}', b"[" * 999])
def test_a_note_that_says_nothing_is_no_reason_to_go_on(tmp_path: Path, note: bytes) -> None:
    with holder("folder", tmp_path):
        (tmp_path / FOLDER).write_bytes(note)
        with pytest.raises(StoreError, match="another asepsis is writing here;"):
            locked(tmp_path).__enter__()


def test_a_lock_that_was_removed_with_its_folder_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody purges between the opening of the file and the locking of it."""
    taken, calls = locks_module._taken, list[int]()

    def purged(*how: object) -> bool:
        calls.append(1)
        if len(calls) == 1:
            (tmp_path / FOLDER).unlink()
        return taken(*how)  # type: ignore[arg-type]

    monkeypatch.setattr(locks_module, "_taken", purged)
    with locked(tmp_path):
        assert len(calls) == 2
        with pytest.raises(StoreError, match="another asepsis"):
            locked(tmp_path).__enter__()


def test_one_run_is_played_by_one_process_and_others_are_free(tmp_path: Path) -> None:
    with holder("run", tmp_path) as other:
        started = time.monotonic()
        with pytest.raises(StoreError, match="another asepsis plays run abc"):
            run_locked(tmp_path, "abc", patience=0.2).__enter__()
        assert 0.2 < time.monotonic() - started < 5
        with run_locked(tmp_path, "def", patience=0.0):
            pass
        other.kill()
        with run_locked(tmp_path, "abc"):
            pass


def test_whoever_goes_on_waits_for_a_worker_that_is_dying(tmp_path: Path) -> None:
    with holder("run", tmp_path) as other:
        started, dying = time.monotonic(), Timer(0.3, other.kill)
        dying.start()
        with run_locked(tmp_path, "abc"):
            assert time.monotonic() - started >= 0.3
        dying.join()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_a_file_system_has_no_locks_runs_go_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(fcntl, "lockf", refused)
    with locked(tmp_path), run_locked(tmp_path, "abc"):
        pass


def test_locks_are_their_owners_alone(tmp_path: Path) -> None:
    with locked(tmp_path), run_locked(tmp_path, "abc"):
        assert {(tmp_path / name).stat().st_mode & 0o777 for name in LOCKS} == {0o600}
