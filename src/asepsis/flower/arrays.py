"""Named arrays on the wire and rows: what a Flower ``ArrayRecord`` holds, read by its bytes alone.

A hospital's reply is believed in nothing. The header of each array is matched with a pattern, never
parsed as a program; dtype and shape must be those that were sent, and the bytes exactly as many:
memory goes into nothing that the server did not send in that size itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout, Slot

Array = NDArray[Any]

MAGIC = b"\x93NUMPY"
NUMPY = "numpy.ndarray"
LARGEST_HEADER = 10_000
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[a-zA-Z]\d{1,2})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,19}, ?)*(?:\d{1,19})?)\), \} *\n"
)


class Refused(Exception):  # noqa: N818 - not an error of this program
    """A reply that cannot be used: a word for counting, and what was wrong with it."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a NumPy file says; ``start`` is where the values begin."""

    dtype: str
    shape: tuple[int, ...]
    by_columns: bool
    start: int


def header_of(data: bytes) -> Header:
    """Read the header of an array as ``numpy.save`` writes it.

    Raises:
        Refused: it is not one.
    """
    long = data[6:7] == b"\x02"
    start = 12 if long else 10
    if data[:6] != MAGIC or data[6:8] not in (b"\x01\x00", b"\x02\x00") or len(data) < start:
        raise Refused("not-numpy", "the bytes are no NumPy array")
    length = int.from_bytes(data[8:start], "little")
    found = _HEADER.fullmatch(data[start : start + length]) if length <= LARGEST_HEADER else None
    if found is None:
        raise Refused("not-numpy", "the header is not one of an array of numbers")
    shape = tuple(int(size) for size in found[3].replace(b" ", b"").split(b",") if size)
    return Header(found[1].decode(), shape, found[2] == b"True", start + length)


def read_array(name: str, array: Any, like: Array) -> Array:
    """Return a reply's array, as a view of its bytes.

    Raises:
        Refused: it is not of the dtype and shape of ``like``, or not as long as they say.
    """
    data = array.data
    if array.stype != NUMPY or not isinstance(data, bytes):
        raise Refused("not-numpy", f"{name!a} is of another kind of serialization")
    header = header_of(data)
    if header.dtype != like.dtype.str:
        raise Refused("wrong-dtype", f"{name!a} is {header.dtype}, {like.dtype.str} was sent")
    if header.shape != like.shape:
        raise Refused("wrong-shape", f"{name!a} is {header.shape}, {like.shape} was sent")
    if len(data) - header.start != like.nbytes:
        raise Refused("wrong-size", f"{name!a} does not have as many bytes as its header says")
    if not like.size:
        return like
    flat = np.frombuffer(data, dtype=like.dtype, offset=header.start)
    return flat.reshape(like.shape, order="F" if header.by_columns else "C")


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """The model that a round began with: its arrays by name, and its row ``[d]``.

    Arrays of floating-point numbers are the row, in the order of ``layout``: parameters first, then
    buffers. The others stay out of it. Rows are float64 where an array is, float32 otherwise.
    """

    arrays: Mapping[str, Array]
    layout: Layout
    row: Tensor

    @classmethod
    def of(
        cls, arrays: Mapping[str, Array], buffers: Sequence[str], network: Layout | None = None
    ) -> Sent:
        """Lay out named arrays; names that end in one of ``buffers`` are no parameters.

        With a ``network`` its layout is the row's.

        Raises:
            ConfigError: there is nothing to average, or not what the network has.
        """
        for name, array in arrays.items():
            if array.dtype.kind not in "fiub":
                raise ConfigError(
                    "only numbers can be averaged", place=f"arrays.{name}", got=str(array.dtype)
                )
        layout = _layout(arrays, tuple(buffers), network)
        if not layout.dim:
            raise ConfigError("there is nothing to average", place="arrays", got=sorted(arrays))
        return cls(arrays, layout, _flat(arrays, layout))

    @property
    def whole(self) -> tuple[str, ...]:
        """Names of arrays of whole numbers, which are no part of the row."""
        return tuple(name for name, array in self.arrays.items() if array.dtype.kind != "f")

    def read(self, record: Mapping[str, Any]) -> dict[str, Array]:
        """Return the arrays of a reply.

        Raises:
            Refused: they are not those that were sent.
        """
        missing, unknown = self.arrays.keys() - record.keys(), record.keys() - self.arrays.keys()
        if missing:
            raise Refused("missing-array", f"{len(missing)} missing, {min(missing)!a} say")
        if unknown:
            raise Refused("unknown-array", f"{len(unknown)} unknown, {min(unknown)[:80]!a} say")
        return {name: read_array(name, record[name], own) for name, own in self.arrays.items()}

    def delta(self, arrays: Mapping[str, Array]) -> Tensor:
        """Return the row of an update: local minus sent."""
        return self.flat(arrays) - self.row

    def flat(self, arrays: Mapping[str, Array]) -> Tensor:
        """Return the row of a model."""
        return _flat(arrays, self.layout)

    def next(self, row: Tensor, whole: Mapping[str, Array]) -> dict[str, Array]:
        """Return the arrays of the model at ``row``, in their own dtypes, in the order sent."""
        views = self.layout.views(row)
        made = dict(self.arrays) | dict(whole)
        with np.errstate(over="ignore"):
            for name, view in views.items():
                made[name] = view.numpy().astype(self.arrays[name].dtype)
        return made


def _flat(arrays: Mapping[str, Array], layout: Layout) -> Tensor:
    chosen = [arrays[slot.name] for slot in layout.slots]
    kind = np.float64 if any(array.dtype.itemsize > 4 for array in chosen) else np.float32
    return torch.from_numpy(np.concatenate([array.astype(kind).ravel() for array in chosen]))


def _layout(
    arrays: Mapping[str, Array], buffers: tuple[str, ...], network: Layout | None
) -> Layout:
    floats = [name for name, array in arrays.items() if array.dtype.kind == "f"]
    if network is not None:
        _check_network(network, arrays, floats)
        return network
    held = [name for name in floats if buffers and name.endswith(buffers)]
    slots, start = [], 0
    for name in [*(name for name in floats if name not in held), *held]:
        slots.append(Slot(name, arrays[name].shape, start, name not in held))
        start = slots[-1].where.stop
    return Layout(tuple(slots))


def _check_network(network: Layout, arrays: Mapping[str, Array], floats: list[str]) -> None:
    theirs = {name: arrays[name].shape for name in floats}
    own = {slot.name: slot.shape for slot in network.slots}
    if own != theirs:
        names = own.keys() | theirs.keys()
        raise ConfigError(
            "the network's tensors are not the arrays that are sent",
            place="network",
            got=sorted(name for name in names if own.get(name) != theirs.get(name)),
            fix="give the module whose state_dict is sent; it shares no weights between layers",
        )
