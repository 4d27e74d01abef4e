"""Files that once broke a reader, each with what is said of it now."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import examples
import pytest
from targets import TARGETS


def _record(old: bytes, new: bytes) -> Callable[[], bytes]:
    def made() -> bytes:
        content = examples.results()[examples.named("runs/")]
        assert old in content
        return content.replace(old, new)

    return made


def _without_header() -> bytes:
    return b"\n".join(examples.results()[examples.named("runs/")].split(b"\n")[1:])


def _lzma() -> bytes:
    made = bytearray(examples.zipped({"images.npy": examples.npy([1])}, zipfile.ZIP_LZMA))
    at = 30 + len("images.npy") + 9  # behind the header of the member, and of its method
    made[at : at + 8] = b"\xff" * 8
    return bytes(made)


def _encrypted() -> bytes:
    made = bytearray(examples.zipped({"images.npy": examples.npy([1])}))
    made[6] |= 1
    made[made.index(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


HEADER = b"\x93NUMPY\x01\x00\x0a\x00{'descr': "
FOUND: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a hexadecimal number of 5000 digits": (
        "experiment",
        lambda: b"seed = 0x" + b"f" * 5000,
        "too large a number",
    ),
    "a number of 5000 digits": (
        "assessment",
        lambda: b"hostile = " + b"9" * 5000,
        "not valid TOML",
    ),
    "tables in tables": ("assessment", lambda: b"a = " + b"[" * 5000, "not valid TOML"),
    "a key of many parts": ("experiment", lambda: b"a." * 5000 + b"a = 1", "too many parts"),
    "a time that is no float": (
        "diary",
        lambda: b'{"asked": "00ff", "decisions": {}, "spent": 1' + b"0" * 400 + b"}",
        "damaged",
    ),
    "a diary of lists": ("diary", lambda: b"[" * 100_000, "damaged"),
    "a figure that is a text": (
        "results-record",
        _record(b'"metrics":{"accuracy":', b'"metrics":{"accuracy":"x","b":'),
        "",
    ),
    "no header": ("record", _without_header, "line 1 of the record is damaged at type"),
    "no metrics": ("record", _record(b'"metrics":', b'"metric":'), "damaged at result.metrics"),
    "a checkpoint of nothing": (
        "checkpoint",
        lambda: examples.tensors()[2],
        "holds no state of a run",
    ),
    "an array's header that ends early": ("npz-array", lambda: HEADER + b"(", "damaged"),
    "the same of stored updates": ("npy", lambda: HEADER + b"(", "not a NumPy array"),
    "a damaged LZMA stream": ("npz", _lzma, "damaged"),
    "an archive with a password": ("npz", _encrypted, "encrypted"),
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str, tmp_path: Path) -> None:
    reader, content, told = FOUND[name]
    target = next(one for one in TARGETS if one.name == reader)
    place = target.lay(tmp_path)
    place.write_bytes(target.wrap(content()))
    assert told in target.attempt(place)
