"""What travels between a node and the sweep: read strictly, written in an order that survives."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asepsis.core.errors import StoreError
from asepsis.experiments import parcel as parcel_module
from asepsis.experiments.parcel import LENGTH, Changes, Parcel, deliver, files_of, receive, send
from asepsis.experiments.store import Store

NAME = "0123456789abcdef"


@given(
    st.dictionaries(st.text(), st.integers()),
    st.dictionaries(st.text(), st.none() | st.binary()),
)
def test_a_parcel_survives_the_way(told: dict[str, int], files: dict[str, bytes | None]) -> None:
    found = Parcel.unpack(Parcel(told, files).pack())
    assert found.told == told
    assert found.files == files


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for text in (content, LENGTH.pack(max(len(content) - 8, 0)) + content):
        try:
            Parcel.unpack(text)
        except StoreError:
            continue


@pytest.mark.parametrize(
    "head",
    [
        {},
        [],
        {"told": {}},
        {"told": {}, "files": 3},
        {"told": {}, "files": [["runs/a.jsonl", 5]]},
        {"told": {}, "files": [["runs/a.jsonl", -2]]},
        {"told": {}, "files": [["runs/a.jsonl", 1e3]]},
        {"told": {}, "files": [["runs/a.jsonl", 1 << 62]]},
    ],
)
def test_a_head_that_says_something_else_is_refused(head: object) -> None:
    text = json.dumps(head).encode()
    with pytest.raises(StoreError, match="damaged"):
        Parcel.unpack(LENGTH.pack(len(text)) + text)


@pytest.mark.parametrize(
    "place",
    [
        "runs/fedcba9876543210.jsonl",
        f"runs/../runs/{NAME}.jsonl",
        f"../{NAME}.jsonl",
        f"/runs/{NAME}.jsonl",
        f"runs/{NAME}.safetensors",
        f"runs/{NAME}x.jsonl",
        f"{NAME}.jsonl",
        f"traces/{NAME}/../../study.json",
        "study.json",
        ".lock",
    ],
)
def test_a_file_that_is_not_of_the_group_is_refused(tmp_path: Path, place: str) -> None:
    store = Store(tmp_path / "out").open()
    with pytest.raises(StoreError, match="another run"):
        deliver(Parcel({}, {place: b"x"}), store, {NAME})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_at_any_moment_there_is_no_record_without_what_it_speaks_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trace, picture and ledger before the record, the record before its checkpoint."""
    store, written = Store(tmp_path).open(), list[str]()
    monkeypatch.setattr(
        parcel_module,
        "write_atomic",
        lambda path, _: written.append(path.relative_to(tmp_path).parts[0]),
    )
    rooms = ["checkpoints/{}.safetensors", "runs/{}.jsonl", "prefixes/{}.safetensors"]
    rooms += ["prefixes/{}.jsonl", "ledgers/{}.jsonl", "artifacts/{}-0-1.safetensors"]
    rooms += ["traces/{}/3.safetensors"]
    deliver(Parcel({}, {room.format(NAME): b"x" for room in rooms}), store, {NAME})
    order = ["traces", "artifacts", "ledgers", "prefixes", "prefixes", "runs", "checkpoints"]
    assert written == order


def test_changes_are_told_once_and_can_be_made_elsewhere(tmp_path: Path) -> None:
    here, there = (Store(tmp_path / name).open() for name in ("here", "there"))
    changes = Changes(here)
    here.record(NAME).write_bytes(b"1\n")
    here.checkpoint(NAME).write_bytes(b"c")
    (here.root / "runs" / f".{NAME}.jsonl.7.part").write_bytes(b"half")
    deliver(Parcel({}, changes.take()), there, {NAME})
    assert changes.take() == {}
    with here.record(NAME).open("ab") as file:
        file.write(b"2\n")
    here.checkpoint(NAME).unlink()
    deliver(Parcel({}, changes.take()), there, {NAME})
    assert list(files_of(there, [NAME])) == [f"runs/{NAME}.jsonl"]
    assert there.record(NAME).read_bytes() == b"1\n2\n"
    assert there.record(NAME).stat().st_mode & 0o077 == 0


def test_messages_are_told_apart_in_a_stream() -> None:
    stream = io.BytesIO()
    for content in (b"one", b"", b"three"):
        send(stream, content)
    whole = stream.getvalue()
    stream = io.BytesIO(whole)
    assert [receive(stream) for _ in range(4)] == [b"one", b"", b"three", None]
    cut = io.BytesIO(whole[:-1])
    assert [receive(cut) for _ in range(3)] == [b"one", b"", None]
    assert receive(io.BytesIO(b"\xff" * 8 + os.urandom(10))) is None
