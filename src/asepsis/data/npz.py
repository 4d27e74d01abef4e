"""Read ``.npz`` files from strangers: no pickles, sizes bounded before anything is unpacked."""

from __future__ import annotations

import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

from asepsis.core.errors import DataError, did_you_mean
from asepsis.core.samples import Array

MAX_GIB = 8.0
MOST_EMPTY = 2**20
"""Samples of no width take no bytes, but whatever counts them would."""
MOST_WORDS = 200
"""Of an error's text, which may repeat what the file says."""
BAD_ARRAY = (
    *(EOFError, OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError),
    *(SyntaxError, tokenize.TokenError, RecursionError, MemoryError),
)
"""What a damaged NumPy header makes of those who read it."""
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError),  # encrypted, too
    *BAD_ARRAY,
)


def max_bytes() -> int:
    """Return how many bytes a file may unpack to: ``$ASEPSIS_MAX_GIB`` GiB, 8 unless set."""
    text = os.environ.get("ASEPSIS_MAX_GIB", str(MAX_GIB))
    try:
        return int(float(text) * 2**30)
    except (ValueError, OverflowError):
        raise DataError("not a number", place="ASEPSIS_MAX_GIB", got=text) from None


def read_npz(path: Path, keys: Iterable[str] | None = None) -> dict[str, Array]:
    """Return the arrays of an ``.npz`` file, or only those named.

    Raises:
        DataError: not an ``.npz``, damaged, too large, holding pickled objects, or without a key.
    """
    with open_zip(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        wanted = list(members) if keys is None else list(keys)
        for key in wanted:
            if key not in members:
                raise DataError(
                    f"there is no array '{key}'", place=str(path), fix=_hint(key, members)
                )
        total = sum(members[key].file_size for key in wanted)
        if total > max_bytes():
            raise DataError(
                "unpacks to more than is allowed",
                place=str(path),
                got=f"{total / 2**30:.1f} GiB",
                fix="set ASEPSIS_MAX_GIB if you have the memory",
            )
        return {key: _read(archive, members[key], path) for key in wanted}


def keys_of(path: Path) -> list[str]:
    """Return the names of the arrays in an ``.npz`` file."""
    with open_zip(path) as archive:
        return [info.filename.removesuffix(".npy") for info in archive.infolist()]


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip archive.

    Raises:
        DataError: it is none, or cannot be read.
    """
    if not path.is_file():  # a pipe would be waited for, forever
        raise DataError("there is no such file", place=str(path))
    try:
        return zipfile.ZipFile(path)
    except _BROKEN as error:
        raise _damaged(path, error) from None


def read_member(archive: zipfile.ZipFile, name: str, path: Path, limit: int) -> bytes:
    """Return one member of an archive, refusing more than ``limit`` bytes.

    Raises:
        DataError: it is missing, damaged or too large.
    """
    try:
        with archive.open(name) as file:
            content = file.read(limit + 1)
    except KeyError:
        raise DataError(f"the archive has no '{name}'", place=str(path)) from None
    except _BROKEN as error:
        raise _damaged(path, error) from None
    if len(content) > limit:
        raise DataError(f"'{name}' unpacks to over {limit} bytes", place=str(path))
    return content


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Array:
    try:
        with archive.open(info) as file:
            _check_header(file, info, path)
        with archive.open(info) as file:
            array: Array = npy.read_array(file, allow_pickle=False)
            file.read(1)  # reaching the end makes zipfile compare the checksum
            return array
    except _BROKEN as error:
        raise _damaged(path, error) from None


def _check_header(file: IO[bytes], info: zipfile.ZipInfo, path: Path) -> None:
    """Compare what the array's header promises with what the archive holds, before reading it."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise DataError(
            f"array '{info.filename}' holds pickled Python objects, which are never read",
            place=str(path),
            fix="save plain numbers or text",
        )
    size = prod(shape) * dtype.itemsize
    endless = not size and prod(side for side in shape if side) > MOST_EMPTY
    if size != info.file_size - file.tell() or endless:
        raise ValueError(f"'{info.filename}' does not hold what its header promises")


def _hint(key: str, members: Mapping[str, object]) -> str:
    return did_you_mean(key, members)


def _damaged(path: Path, error: Exception) -> DataError:
    words = (str(error).strip().splitlines() or [""])[0][:MOST_WORDS] or type(error).__name__
    return DataError(
        f"damaged or not the kind of file its name says ({words})",
        place=str(path),
        fix="delete it and fetch it again",
    )
