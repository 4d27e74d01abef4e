"""Small files that ask for much: memory stays below a limit, and time too."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import examples
import numpy as np
import pytest
from confined import FAULT, confined
from targets import TARGETS

GIB = 1 << 30
MEBIBYTES = 160
"""What a reader may take beyond what the process has."""


def sparse(content: bytes, size: int = GIB, end: bytes = b"") -> Callable[[Path], None]:
    """Return what writes a file with a hole in its middle, of so many bytes."""

    def write(place: Path) -> None:
        with place.open("wb") as file:
            file.write(content)
            file.truncate(size)
            file.seek(0, 2)
            file.write(end)

    return write


def whole(content: bytes | Callable[[], bytes]) -> Callable[[Path], None]:
    """Return what writes a file."""

    def write(place: Path) -> None:
        place.write_bytes(content if isinstance(content, bytes) else content())

    return write


def claimed(shape: str, dtype: str = "<f4") -> bytes:
    """Return an array that claims a shape."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text = header.encode() + b" " * (118 - len(header) - 1 - 0) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def bomb(inside: str = "images.npy", size: int = 192 << 20) -> bytes:
    """Return an archive of an array that takes far more memory than disk; its sizes are true."""
    return examples.zipped(
        {inside: examples.npy(np.zeros(size, np.uint8)), "labels.npy": examples.npy([0])}
    )


def lying() -> bytes:
    """Return an archive that says a member unpacks to 10 bytes, where it is 192 MiB."""
    made = bytearray(bomb())
    at = made.index(b"PK\x01\x02")
    made[at + 24 : at + 28] = struct.pack("<I", 10)
    made[22:26] = struct.pack("<I", 10)
    return bytes(made)


def tensors(said: int, header: bytes = b"") -> bytes:
    """Return a safetensors file that claims the length of its header."""
    return struct.pack("<Q", said) + header


def shaped(*shape: int, end: int = 0) -> bytes:
    """Return a safetensors file with a tensor of a claimed shape."""
    header = json.dumps(
        {"row": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
    ).encode()
    return tensors(len(header), header)


def element() -> bytes:
    """Return a DICOM file with an element that claims 4 GB."""
    plain = examples.dicom()[0]
    return plain.replace(b"PN\x0d\x00", b"UN\0\0\xfe\xff\xff\xff") + plain


def huge_scan() -> bytes:
    """Return a volume that claims 32,767 voxels a side."""
    made = bytearray(examples.nifti()[0])
    made[42:48] = struct.pack("<3h", 32767, 32767, 32767)
    return bytes(made)


DEEP = 200_000
BOMBS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "toml nested arrays": ("experiment", whole(b"a = " + b"[" * DEEP)),
    "toml nested tables": ("experiment", whole(b"a = " + b"{a=" * DEEP)),
    "toml dotted key": ("experiment", whole(b"a." * DEEP + b"a = 1")),
    "toml long number": ("experiment", whole(b"a = 0x" + b"f" * DEEP)),
    "toml many keys": (
        "experiment",
        whole(lambda: b"".join(b"k%d=1\n" % k for k in range(60_000))),
    ),
    "toml sparse": ("experiment", sparse(b"a = 1\n")),
    "assessment nested": ("assessment", whole(b"a = " + b"[" * DEEP)),
    "assessment dotted key": ("assessment", whole(b"a." * DEEP + b"a = 1")),
    "assessment sparse": ("assessment", sparse(b"a = 1\n")),
    "record sparse": ("record", sparse(b"{}\n", 3 * GIB)),
    "record nested": ("record", whole(b"[" * DEEP)),
    "record nested tables": ("record", whole(b'{"a":' * DEEP)),
    "results record sparse": ("results-record", sparse(b"{}\n", 3 * GIB)),
    "plan nested": ("results-plan", whole(b'{"study":' + b"[" * DEEP)),
    "plan sparse": ("results-plan", sparse(b"{}\n", 3 * GIB)),
    "plan many cells": (
        "results-plan",
        whole(b'{"study": {}, "cells": [' + b"{}," * DEEP + b"{}]}"),
    ),
    "devices nested": ("devices", whole(b'{"costs":' + b"[" * DEEP)),
    "devices sparse": ("devices", sparse(b"{}")),
    "diary nested": ("diary", whole(b"[" * DEEP)),
    "diary sparse": ("diary", sparse(b"{}")),
    "outcome sparse": ("outcome", sparse(b"{}")),
    "checkpoint header": ("checkpoint", whole(tensors(10**15))),
    "checkpoint header of all bits": ("checkpoint", whole(tensors(2**64 - 1))),
    "checkpoint sparse": ("checkpoint", sparse(tensors(10**15), 5 * GIB)),
    "checkpoint shape": ("checkpoint", whole(shaped(10**12))),
    "checkpoint empty shape": ("checkpoint", whole(shaped(0, 10**15))),
    "checkpoint overflow": ("checkpoint", whole(shaped(2**32, 2**32))),
    "checkpoint nested": ("checkpoint", whole(tensors(DEEP, b"[" * DEEP))),
    "weights shape": ("weights", whole(shaped(10**12))),
    "weights sparse": ("weights", sparse(tensors(10**15), 5 * GIB)),
    "described header": ("described-safetensors", whole(tensors(10**15))),
    "described sparse": ("described-safetensors", sparse(tensors(10**15))),
    "torchscript sparse": ("described-torchscript", sparse(b"PK\x03\x04")),
    "torchscript bomb": (
        "described-torchscript",
        whole(lambda: examples.zipped({"n/data.pkl": bytes(192 << 20), "n/code/x": b""})),
    ),
    "onnx sparse": ("described-onnx", sparse(examples.onnx()[0])),
    "onnx nested": ("described-onnx", whole(b"\x3a" * DEEP)),
    "ledger sparse": ("ledger", sparse(b"{}\n")),
    "ledger long line": ("ledger", sparse(b"{}\n", 255 << 20)),
    "ledger line breaks": ("ledger", whole(lambda: b"\n" * (64 << 20))),
    "ledger nested": ("ledger", whole(b'{"entry":' + b"[" * DEEP + b"\n")),
    "proof nested": ("proof", whole(b'{"format":' + b"[" * DEEP)),
    "head sparse": ("head", sparse(b"{}")),
    "key sparse": ("head", sparse(b"-----BEGIN")),
    "npz claimed": ("npz-array", whole(claimed("(1000000000000,)"))),
    "npz claimed empty": ("npz-array", whole(claimed("(1000000000000, 0)"))),
    "npz claimed of nothing": ("npz-array", whole(claimed("(1000000000000,)", "|V0"))),
    "npz claimed negative": ("npz-array", whole(claimed("(-1, -8)", "|u1") + bytes(8))),
    "npz dataset of nothing": ("npz-dataset-array", whole(claimed("(1000000000000,)", "|S0"))),
    "npz dataset without width": ("npz-dataset-array", whole(claimed("(1000000000000, 0)"))),
    "npz lying": ("npz", whole(lying)),
    "npz sparse": ("npz", sparse(b"PK\x03\x04", end=b"PK\x05\x06" + bytes(18))),
    "npz many members": (
        "npz",
        whole(lambda: examples.zipped({f"{k}.npy": b"" for k in range(20_000)})),
    ),
    "npy claimed": ("npy", whole(claimed("(1000000, 1000000)"))),
    "npy claimed rows": ("npy", whole(claimed("(1000000000000, 0)"))),
    "npy sparse": ("npy", sparse(claimed("(1, 4)"))),
    "npy nested": ("npy", whole(claimed("(" * 40))),
    "csv sparse": ("csv", sparse(b"a,b\n1,", 2 * GIB)),
    "csv one line": ("csv", sparse(b"a,b", 100 << 20)),
    "csv wide": ("csv", whole(b"," * 900_000)),
    "csv quoted": ("csv", whole(b'a,b\n"' + b"x" * (8 << 20))),
    "isic sparse": ("isic", sparse(b"image,dx\n", 2 * GIB)),
    "heart sparse": ("heart-disease", sparse(b"1,", 2 * GIB)),
    "image claimed": (
        "image-folder",
        whole(
            lambda: (
                examples.pictures()[0][:16]
                + struct.pack(">II", 10**6, 10**6)
                + examples.pictures()[0][24:]
            )
        ),
    ),
    "image sparse": ("image-folder", sparse(b"\x89PNG\r\n\x1a\n")),
    "nifti claimed": ("nifti", whole(huge_scan)),
    "nifti sparse": ("nifti", sparse(examples.nifti()[0])),
    "nifti bomb": ("nifti-gz", whole(lambda: examples.nifti()[0] + bytes(192 << 20))),
    "dicom element": ("dicom", whole(element)),
    "dicom sparse": ("dicom", sparse(examples.dicom()[0])),
    "dicom nested": (
        "dicom",
        whole(
            lambda: (
                examples.dicom()[0]
                + b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
            )
        ),
    ),
    "messages": ("messages", sparse(b"", 64 << 20)),
}
"""A reader, and what is put in the place of its file."""


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str, tmp_path: Path) -> None:
    reader, write = BOMBS[name]
    target = next(one for one in TARGETS if one.name == reader)
    place = target.lay(tmp_path)
    write(place)
    if target.wrap is not bytes:
        place.write_bytes(target.wrap(place.read_bytes()))
    told = confined(lambda: target.attempt(place), mebibytes=MEBIBYTES, seconds=10)
    assert not told.startswith(FAULT), told


def test_an_archive_unpacks_to_no_more_than_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASEPSIS_MAX_GIB", "0.1")
    target = next(one for one in TARGETS if one.name == "npz")
    place = target.lay(tmp_path)
    place.write_bytes(bomb())
    told = confined(lambda: target.attempt(place), mebibytes=MEBIBYTES)
    assert "unpacks to more than is allowed" in told


def test_a_limit_is_felt(tmp_path: Path) -> None:
    """Were the child not confined, every test here would pass."""

    def greedy() -> str:
        return f"{len(bytearray(GIB))}"

    def idle() -> str:
        while True:
            pass

    assert "MemoryError" in confined(greedy, mebibytes=512)
    assert "SIG" in confined(idle, seconds=1)
