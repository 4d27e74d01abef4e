"""Every reader against damaged files: it reads, or refuses with a message of ours; never else."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutate import Edit, damaged
from targets import TARGETS, Target

SECONDS = 5
"""Of a processor: a busy machine is no fault of a reader."""
FEW, MANY = 25, 1000
NUMBER = st.integers(0, 2**32 - 1)
EDITS = st.lists(st.tuples(NUMBER, NUMBER, NUMBER), min_size=1, max_size=4)
NAMES = [target.name for target in TARGETS]


class HangError(BaseException):
    """Raised where a reader takes too long; no ``except Exception`` stops it."""


@contextmanager
def in_time() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def seen(root: Path) -> dict[str, int]:
    """Return all files below a folder with their sizes."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in files}


def fuzz(target: Target, root: Path, examples: int) -> None:
    corpus = list(target.corpus())
    place = target.lay(root)
    place.write_bytes(target.wrap(corpus[0]))
    target.attempt(place)  # locks and the like are there from now on
    before = seen(root).keys()

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
    @given(st.integers(0, len(corpus) - 1), EDITS)
    def attempt(which: int, edits: list[Edit]) -> None:
        place.write_bytes(target.wrap(damaged(corpus[which], corpus, edits, target.form)))
        with in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.attempt(place)

    attempt()
    assert seen(root).keys() == before, "a reader wrote a file"


def target_of(name: str) -> Target:
    return next(target for target in TARGETS if target.name == name)


@pytest.mark.parametrize("name", NAMES)
def test_valid_files_are_read(name: str, tmp_path: Path) -> None:
    """A corpus that is refused would test refusals alone."""
    target = target_of(name)
    place = target.lay(tmp_path)
    told = []
    for content in target.corpus():
        place.write_bytes(target.wrap(content))
        told.append(target.attempt(place))
    assert "" in told, told


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    fuzz(target_of(name), tmp_path, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_damaged_files(name: str, tmp_path: Path) -> None:
    fuzz(target_of(name), tmp_path, MANY)


@pytest.mark.parametrize("name", NAMES)
def test_anything_at_all(name: str, tmp_path: Path) -> None:
    target = target_of(name)
    place = target.lay(tmp_path)
    for content in (b"", b"\0", b"\xff\xfe\xfd", b"\n" * 1000, bytes(4096), b"{}", b"[]", b"null"):
        place.write_bytes(target.wrap(content))
        with in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.attempt(place)
