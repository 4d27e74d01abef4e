"""Read the description in a TorchScript archive, which holds code and a pickle; neither is run.

The pickle is never unpickled: its instructions are listed, and followed only as far as they name
classes and give the sizes of tensors. Nothing is imported or called.
"""

from __future__ import annotations

import pickletools
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asepsis.core.errors import ConfigError
from asepsis.models.exported.reading import MOST_DIMS, Layer, Reading

MOST_BYTES = 2**24
MOST_STEPS = 1_000_000
MOST_ENTRIES = 100_000
LONGEST_NAME = 1000
_BROKEN = (
    *(ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError, MemoryError),
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
)


def read_torchscript(file: Path) -> Reading:
    """Return what a TorchScript archive describes; it says nothing of the shapes of inputs.

    Raises:
        ConfigError: it is no such archive, or too large.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()[:MOST_ENTRIES]
            [inside] = [name for name in names if name.endswith("/data.pkl")]
            if not any("/code/" in name for name in names):
                raise ConfigError(
                    "this is a pickle of weights, no TorchScript archive",
                    place=file.name,
                    fix="save weights as safetensors, or export with torch.jit.script",
                )
            with archive.open(inside) as stream:
                content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError("too large")
        return Reading("TorchScript", tuple(_layers(_followed(content))))
    except _BROKEN as error:
        raise ConfigError(
            f"not a readable TorchScript archive ({type(error).__name__})", place=file.name
        ) from None


@dataclass(eq=False)
class _Thing:
    """Something that the pickle would have made: what by, of what, and with which attributes."""

    name: str
    made_of: Any = ()
    state: Any = None


class _Mark:
    pass


def _followed(content: bytes) -> Any:
    """Follow the instructions that PyTorch's own pickler writes; refuse all others."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for number, (opcode, value, _) in enumerate(pickletools.genops(content)):
        if number > MOST_STEPS:
            raise ValueError("too long")
        if opcode.name == "STOP":
            return stack.pop()
        _step(opcode.name, value, stack, memo)
    raise ValueError("no end")


_PLAIN = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("NEWTRUE", "NEWFALSE", "NONE"),
}
_CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False, "NONE": None}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _step(name: str, value: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in _PLAIN:
        stack.append(_CONSTANTS.get(name, value))
    elif name in ("PROTO", "FRAME"):
        return
    elif name == "GLOBAL":
        stack.append(_Thing(value.replace(" ", ".")))
    elif name in ("BINPUT", "LONG_BINPUT"):
        memo[value] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(memo[value])
    elif name in ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"):
        stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[name])
    elif name == "MARK":
        stack.append(_Mark())
    else:
        _combine(name, stack)


def _combine(name: str, stack: list[Any]) -> None:
    if name in _TUPLES:
        items = [stack.pop() for _ in range(_TUPLES[name])]
        stack.append(tuple(reversed(items)))
    elif name in ("TUPLE", "APPENDS", "SETITEMS"):
        items = _to_mark(stack)
        if name == "TUPLE":
            stack.append(tuple(items))
        elif name == "APPENDS":
            stack[-1].extend(items)
        else:
            stack[-1].update(zip(map(_key, items[::2]), items[1::2], strict=True))
    elif name in ("APPEND", "BUILD"):
        item = stack.pop()
        if name == "APPEND":
            stack[-1].append(item)
        else:
            stack[-1].state = item
    elif name in ("REDUCE", "NEWOBJ"):
        made_of = stack.pop()
        stack.append(_Thing(stack.pop().name, made_of))
    elif name == "BINPERSID":
        stack.append(_Thing("storage", stack.pop()))
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        stack[-1][_key(key)] = value
    else:
        raise ValueError(f"instruction {name}")


def _key(value: Any) -> Any:
    """Return a key that costs nothing to hash: tuples of tuples may take forever."""
    if isinstance(value, str | int | float | None):
        return value
    raise ValueError("a key that is no plain value")


def _to_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while not isinstance(stack[-1], _Mark):
        items.append(stack.pop())
    stack.pop()
    return items[::-1]


def _layers(root: _Thing) -> Iterator[Layer]:
    """Walk down the modules in their own order; one that is shared is named once."""
    waiting, seen = [("", root)], set()
    while waiting:
        name, thing = waiting.pop()
        if id(thing) in seen or not isinstance(thing.state, dict):
            continue
        if len(name) > LONGEST_NAME:
            raise ValueError("names without end")
        seen.add(id(thing))
        tensors = tuple(
            (str(key), shape)
            for key, value in thing.state.items()
            if (shape := _shape(value)) is not None
        )
        if tensors:
            yield Layer(name, thing.name.rpartition(".")[2], tensors)
        children = [
            (f"{name}.{key}".lstrip("."), value)
            for key, value in thing.state.items()
            if isinstance(value, _Thing) and value.name.startswith("__torch__")
        ]
        waiting += reversed(children)


def _shape(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, _Thing) or "_rebuild_" not in value.name:
        return None
    if "_rebuild_parameter" in value.name:
        return _shape(value.made_of[0])
    sizes = value.made_of[2]
    if len(sizes) > MOST_DIMS or not all(isinstance(x, int) and 0 <= x < 2**40 for x in sizes):
        return None
    return tuple(sizes)
