"""What is no plain file in a file's place: pipes, devices, folders and links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from confined import FAULT, confined
from targets import TARGETS, Target

BARE = ("messages", "setting", "proof", "key", "invitation", "flower")
"""Targets whose reader is handed bytes, not a place."""
FILES = [target for target in TARGETS if target.name not in BARE]


def _pipe(place: Path) -> None:
    os.mkfifo(place)


def _endless(place: Path) -> None:
    place.symlink_to("/dev/zero")


def _folder(place: Path) -> None:
    place.mkdir()


def _loop(place: Path) -> None:
    place.symlink_to(place)


def _nowhere(place: Path) -> None:
    place.symlink_to(place.parent / "nowhere")


KINDS = (_pipe, _endless, _folder, _loop, _nowhere)


@pytest.mark.parametrize("target", FILES, ids=lambda target: target.name)
def test_special_files(target: Target, tmp_path: Path) -> None:
    """Nobody waits for a pipe, or reads a device without end."""
    target.corpus()  # made here once, not in every child
    for kind in KINDS:
        root = tmp_path / kind.__name__
        root.mkdir()
        place = target.lay(root)
        place.unlink(missing_ok=True)
        kind(place)

        told = confined(lambda place=place: target.attempt(place), seconds=3)  # type: ignore[misc]
        assert not told.startswith(FAULT), f"{kind.__name__}: {told}"


def test_a_record_may_not_lead_elsewhere(tmp_path: Path) -> None:
    """A results folder of strangers shows no file that lies outside it."""
    target = next(one for one in TARGETS if one.name == "results-record")
    place = target.lay(tmp_path)
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(place.read_bytes())
    place.unlink()
    place.symlink_to(secret)
    from asepsis.experiments.folders import load

    assert "links" in load(tmp_path / "results").problem
