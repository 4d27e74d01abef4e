"""Updates in a file: a cohort larger than memory, aggregated by panels of columns."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.updates import Rows
from asepsis.data.npz import BAD_ARRAY, MOST_WORDS

SMALL = 1 << 28
"""Rows of a file are handed out as one matrix up to so many bytes."""

BY_BLOCKS = (
    "adaptive-clip",
    "arc",
    "bulyan",
    "caf",
    "centered-clipping",
    "fltrust",
    "geometric-median",
    "krum",
    "mda",
    "meamed",
    "mean",
    "median",
    "multi-krum",
    "norm-clip",
    "robust-lr",
    "slsgd",
    "three-sigma",
    "trimmed-mean",
)
"""Screens and rules that never ask for all rows as one matrix; not the only ones."""

_HEADER = 1 << 14
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_DTYPES = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}


def stored_rows(path: str | os.PathLike[str]) -> Rows:
    """Return the updates ``[n, d]`` in a NumPy file (``.npy``), read as they are needed.

    Every pass reads panels of columns into one buffer of its own. (The pages of a memory map
    would count as resident.) The file holds float32 or float64 in this machine's byte order, row
    after row, and nothing else; pickles are never read.

    Raises:
        ConfigError: there is no such file, or it is not what is said above.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "updates.npy"
        ...     np.save(path, np.ones((3, 5), np.float32))
        ...     stored_rows(path).shape
        (3, 5)
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise ConfigError("there is no such file", place=str(path))
    try:
        with place.open("rb") as file:
            shape, by_columns, dtype, offset = _header(file)
        size = place.stat().st_size
    except BAD_ARRAY as error:
        words = (str(error).strip().splitlines() or [""])[0][:MOST_WORDS]
        raise _unfit(place, f"not a NumPy array ({words})", None) from None
    if dtype not in _DTYPES:
        raise _unfit(place, "updates are float32 or float64 in native byte order", str(dtype))
    if len(shape) != 2 or min(shape) < 0 or not shape[1]:
        raise _unfit(place, "a matrix of updates is [clients, coordinates]", shape)
    if by_columns:
        raise _unfit(place, "the matrix is stored column after column", "Fortran order")
    wanted = offset + shape[0] * shape[1] * dtype.itemsize
    if size != wanted:
        raise _unfit(place, f"its header promises {wanted:,} bytes", f"{size:,}")
    return Rows(_Stored(place, (shape[0], shape[1]), dtype, offset))


@dataclass(frozen=True)
class _Stored:
    """Rows of a file, as a source of panels."""

    path: Path
    shape: tuple[int, int]
    kind: np.dtype[np.generic]
    offset: int

    @property
    def dtype(self) -> torch.dtype:
        return _DTYPES[self.kind]

    def panels(self, rows: Sequence[int], columns: int) -> Iterator[Tensor]:
        n, d = len(rows), self.shape[1]
        buffer = np.empty(n * min(columns, d), self.kind)
        with self.path.open("rb", buffering=0) as file:
            for start in range(0, d, columns):
                wide = min(columns, d - start)
                panel = buffer[: n * wide].reshape(n, wide)
                for place, row in enumerate(rows):
                    file.seek(self.offset + (row * d + start) * self.kind.itemsize)
                    self._fill(file, memoryview(panel[place]).cast("B"))
                yield torch.from_numpy(panel)

    def _fill(self, file: io.FileIO, into: memoryview) -> None:
        done = 0
        while done < len(into):
            got = file.readinto(into[done:])
            if not got:
                raise ConfigError("the file became shorter while it was read", place=str(self.path))
            done += got

    def check_whole(self, rows: int) -> None:
        size = rows * self.shape[1] * self.kind.itemsize
        if size > SMALL:
            raise ConfigError(
                f"a defense wants all updates in memory, which would take {size / 2**30:.1f} GiB",
                place=str(self.path),
                fix=f"these work by blocks of columns: {', '.join(BY_BLOCKS)}",
            )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Return shape, order, dtype and where the values begin; never more than a header is read."""
    head = io.BytesIO(file.read(_HEADER))
    version = npy.read_magic(head)
    if version not in _READERS:
        raise ValueError(f"version {version} of the format")
    shape, by_columns, dtype = _READERS[version](head)
    return shape, by_columns, dtype, head.tell()


def _unfit(path: Path, message: str, got: object) -> ConfigError:
    fix = "save it with numpy.save(path, numpy.ascontiguousarray(matrix, numpy.float32))"
    return ConfigError(message, place=str(path), got=got, fix=fix)
