"""Exported networks are described without running any of them."""

from __future__ import annotations

import json
import pickle
import struct
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from asepsis.cli.model import read
from asepsis.core.errors import ConfigError
from asepsis.core.rng import building_modules
from asepsis.models.exported.onnx import read_onnx

# conv 4·9+4, batch norm 4+4 (and 4+4 measured), linear 144·3+3
LEARNED, MEASURED = 40 + 8 + 435, 8


def network() -> nn.Module:
    with building_modules(0):
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3))


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "net.pt"
    torch.jit.script(network()).save(file)  # type: ignore[no-untyped-call]
    return file


def test_torchscript(scripted: Path) -> None:
    found = read(scripted)
    assert [(layer.name, layer.what) for layer in found.layers] == [
        ("0", "Conv2d"),
        ("1", "BatchNorm2d"),
        ("3", "Linear"),
    ]
    assert found.layers[0].tensors == (("weight", (4, 1, 3, 3)), ("bias", (4,)))
    assert (found.parameters, found.buffers) == (LEARNED, MEASURED)
    said = " ".join(found.findings())
    assert f"{LEARNED + MEASURED} numbers" in said
    assert "3 (Linear) leaks what reaches it" in said
    assert "batch normalization" in said


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (open, ("trapped", "w"))


def test_a_pickle_in_it_is_not_run(
    scripted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trap = tmp_path / "trap.pt"
    with zipfile.ZipFile(scripted) as archive, zipfile.ZipFile(trap, "w") as made:
        for name in archive.namelist():
            own = name.endswith("/data.pkl")
            made.writestr(name, pickle.dumps(Trap(), 2) if own else archive.read(name))
    assert read(trap).layers == ()
    assert not (tmp_path / "trapped").exists()


def test_weights_alone_are_no_torchscript(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=r"pickle of weights.*safetensors"):
        read(tmp_path / "w.pt")


@given(st.binary(max_size=60), st.integers(0, 400))
def test_damaged_pickles_are_one_message(
    scripted: Path, tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    file = tmp_path_factory.mktemp("damaged") / "net.pt"
    with zipfile.ZipFile(scripted) as archive, zipfile.ZipFile(file, "w") as made:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("/data.pkl"):
                content = content[:at] + noise + content[at + len(noise) :]
            made.writestr(name, content)
    with suppress(ConfigError):  # nothing else may be raised
        read(file)


def varint(value: int) -> bytes:
    made = b""
    while value > 127:
        made += bytes([value & 127 | 128])
        value >>= 7
    return made + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def nested(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def tensor(name: str, *dims: int) -> bytes:
    raw = nested(9, bytes(40))  # weights, whatever they are
    return nested(5, b"".join(number(1, dim) for dim in dims) + nested(8, name) + raw)


def node(what: str, *inputs: str) -> bytes:
    used = b"".join(nested(1, name) for name in inputs)
    return nested(1, used + nested(3, f"{what} node") + nested(4, what))


def value(field: int, name: str, *dims: int | str) -> bytes:
    axes = b"".join(
        nested(1, number(1, dim) if isinstance(dim, int) else nested(2, dim)) for dim in dims
    )
    return nested(field, nested(1, name) + nested(2, nested(1, number(1, 1) + nested(2, axes))))


# Field numbers are those of onnx.proto (ModelProto.graph = 7).
GRAPH = b"".join([
    node("Gemm", "x", "w", "b"),
    node("Relu", "h"),
    node("BatchNormalization", "h", "scale", "shift", "mean", "var"),
    tensor("w", 300, 5), tensor("b", 5),
    *(tensor(name, 5) for name in ("scale", "shift", "mean", "var")),
    value(11, "x", "batch", 300), value(11, "w", 300, 5), value(12, "y", "batch", 5),
])  # fmt: skip
MODEL = number(1, 8) + nested(2, "made by hand") + nested(7, GRAPH)


def test_onnx(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(MODEL)
    found = read(tmp_path / "net.onnx")
    assert found.inputs == (("x", ("batch", 300)),)
    assert found.outputs == (("y", ("batch", 5)),)
    assert [layer.what for layer in found.layers] == ["Gemm", "BatchNormalization"]
    assert found.layers[0].tensors == (("w", (300, 5)), ("b", (5,)))
    assert (found.parameters, found.buffers) == (1505 + 10, 10)
    assert "leaks the sample itself" in " ".join(found.findings())


@given(st.binary(max_size=40), st.integers(0, len(MODEL)))
def test_damaged_onnx_is_one_message(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    file = tmp_path_factory.mktemp("onnx") / "net.onnx"
    file.write_bytes(MODEL[:at] + noise + MODEL[at + len(noise) :] or b"\0")
    with suppress(ConfigError):  # nothing else may be raised
        read_onnx(file)


def test_safetensors(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "net.safetensors")
    found = read(tmp_path / "net.safetensors")
    assert (found.parameters, found.buffers) == (LEARNED, MEASURED)
    assert json.dumps([layer.name for layer in found.layers]) == '["0", "1", "3"]'


@pytest.mark.parametrize("name", ["net.h5", "net.onnx", "net.pt", "net.safetensors"])
def test_what_is_no_network(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    with pytest.raises(ConfigError, match="no such file"):
        read(file)
    file.write_bytes(struct.pack("<Q", 2**60))
    with pytest.raises(ConfigError, match="not a"):
        read(file)


def archive(file: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a/data.pkl", pickled)
        made.writestr("a/code/a.py", "")
    return file


NESTED = b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 60
"""A tuple of the same tuple twice, 60 deep: to hash it takes 2**60 steps."""


@pytest.mark.parametrize("end", [b"}h\x00K\x01s.", b"}(h\x00K\x01u."])
def test_a_pickle_whose_keys_would_take_forever_is_given_up(tmp_path: Path, end: bytes) -> None:
    with pytest.raises(ConfigError, match="not a readable"):
        read(archive(tmp_path / "net.pt", NESTED + end))


def test_names_that_grow_without_end_are_given_up(tmp_path: Path) -> None:
    # The innermost of 3000 modules would be named with 3000 times 1000 letters.
    word = b"X\xe8\x03\x00\x00" + b"n" * 1000 + b"q\x00"
    module = b"c__torch__\nM\n)\x81}h\x00"
    with pytest.raises(ConfigError, match="not a readable"):
        read(
            archive(
                tmp_path / "net.pt", b"\x80\x02" + word + module * 3000 + b"N" + b"sb" * 3000 + b"."
            )
        )


def test_packed_dimensions_without_end_are_given_up(tmp_path: Path) -> None:
    dims = b"\x01" * 5_000_000
    tensor = b"\x0a" + varint(len(dims)) + dims + b"\x42\x01w"
    graph = b"\x2a" + varint(len(tensor)) + tensor
    (tmp_path / "net.onnx").write_bytes(b"\x3a" + varint(len(graph)) + graph)
    tracemalloc.start()
    with pytest.raises(ConfigError, match="not a readable"):
        read(tmp_path / "net.onnx")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2_000_000
