"""Read the description in an ONNX file: its protobuf fields, bounded, with no weight unpacked."""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from asepsis.core.errors import ConfigError
from asepsis.models.exported.reading import MOST_DIMS, Layer, Reading, Shape

MOST_BYTES = 4 * 2**30
MOST_FIELDS = 1_000_000
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""How protobuf writes a field's value."""
GRAPH = 7
NODE, INITIALIZER, INPUT, OUTPUT = 1, 5, 11, 12
"""Numbers of fields in onnx.proto: ModelProto and GraphProto."""

Fields = dict[int, list[int | memoryview]]


def read_onnx(file: Path) -> Reading:
    """Return what an ONNX file describes; external data are not looked for.

    Raises:
        ConfigError: it is no ONNX file, or too large.
    """
    if not 0 < file.stat().st_size <= MOST_BYTES:
        raise ConfigError(f"1 to {MOST_BYTES} bytes are read", place=file.name)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        try:
            with memoryview(whole) as view:
                return _Reader().model(view)
        except (ValueError, IndexError, UnicodeDecodeError, RecursionError, BufferError):
            pass
    raise ConfigError("not a readable ONNX file", place=file.name)


class _Reader:
    """Counts the fields it reads, so that a file made to be slow is given up."""

    def __init__(self) -> None:
        self._seen = 0

    def model(self, view: memoryview) -> Reading:
        graphs = self._fields(view)[GRAPH]
        if len(graphs) != 1:
            raise ValueError("no graph")
        graph = self._fields(_bytes(graphs[0]))
        known = dict(self._tensor(_bytes(item)) for item in graph[INITIALIZER])
        layers = [self._layer(_bytes(item), known) for item in graph[NODE]]
        return Reading(
            format="ONNX",
            layers=tuple(layer for layer in layers if layer.tensors),
            inputs=tuple(item for item in self._values(graph[INPUT]) if item[0] not in known),
            outputs=self._values(graph[OUTPUT]),
        )

    def _layer(self, view: memoryview, known: dict[str, tuple[int, ...]]) -> Layer:
        node = self._fields(view)
        used = [_text(item) for item in node[1]]
        what = _text(node[4][0]) if node[4] else ""
        tensors = tuple(
            (MEASURED_INPUTS.get((what, place), name), known[name])
            for place, name in enumerate(used)
            if name in known
        )
        return Layer(_text(node[3][0]) if node[3] else "", what, tensors)

    def _tensor(self, view: memoryview) -> tuple[str, tuple[int, ...]]:
        fields = self._fields(view)
        dims: list[int] = []
        for item in fields[1]:
            dims += [item] if isinstance(item, int) else islice(_varints(item), MOST_DIMS + 1)
            if len(dims) > MOST_DIMS:
                break
        if any(not 0 <= dim < 2**40 for dim in dims) or len(dims) > MOST_DIMS:
            raise ValueError("an impossible shape")
        return _text(fields[8][0]), tuple(dims)

    def _values(self, items: list[int | memoryview]) -> tuple[tuple[str, Shape], ...]:
        return tuple(self._value(_bytes(item)) for item in items)

    def _value(self, view: memoryview) -> tuple[str, Shape]:
        """Return a value's name and shape: type (2), tensor_type (1), shape (2), dim (1)."""
        fields, dims = self._fields(view), []
        inner: list[int | memoryview] = fields[2]
        for number in (1, 2):
            inner = self._fields(_bytes(inner[0]))[number] if inner else []
        for item in self._fields(_bytes(inner[0]))[1] if inner else []:
            dim = self._fields(_bytes(item))
            dims.append(dim[1][0] if dim[1] else _text(dim[2][0]) if dim[2] else "?")
        return _text(fields[1][0]), tuple(one if isinstance(one, int) else str(one) for one in dims)

    def _fields(self, view: memoryview) -> Fields:
        found: Fields = defaultdict(list)
        for number, value in _walk(view):
            self._seen += 1
            if self._seen > MOST_FIELDS:
                raise ValueError("too many fields")
            found[number].append(value)
        return found


MEASURED_INPUTS = {
    ("BatchNormalization", 3): "running_mean",
    ("BatchNormalization", 4): "running_var",
}
"""By its order an input of a node says what it is."""


def _walk(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(view, at)
            yield tag >> 3, value
            continue
        if kind == BYTES:
            size, at = _varint(view, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError("no protobuf")
        if at + size > len(view):
            raise ValueError("cut off")
        yield tag >> 3, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("no number")


def _varints(view: memoryview) -> Iterator[int]:
    at = 0
    while at < len(view):
        value, at = _varint(view, at)
        yield value


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_bytes(value)[:1000]).decode(errors="replace")
