"""Read CSV files from strangers: bounded, and with messages that say what is wrong."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from asepsis.core.errors import DataError, did_you_mean
from asepsis.core.samples import Array

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 2**30
MAX_ROWS = 1_000_000
MAX_COLUMNS = 2000
MAX_HEADER = 2**20
"""Bytes of the header line."""
_BROKEN = (ValueError, OSError, RecursionError)
_LIKE_A_VALUE = re.compile(r"\s*[-+.]?\d[-+.,:/ \deE]*")
_UNCOUNTED = (OSError, csv.Error, StopIteration)


def read_csv(
    place: Path, file: IO[bytes] | None = None, missing: str = "?", *, as_text: bool = False
) -> pd.DataFrame:
    """Return a CSV file with a header row as a table; empty fields and ``?`` are missing.

    Args:
        place: the file, also named in messages.
        file: its content, when it lies inside an archive.
        missing: what else stands for a missing value.
        as_text: leave fields as they are written: 007 stays 007.

    Raises:
        DataError: unreadable, too large, or not a table.
    """
    import pandas as pd

    if file is None:
        _check_file(place)
        _check_header_line(place)
    try:
        columns = list(pd.read_csv(place if file is None else file, nrows=0, index_col=False))
        if len(columns) <= MAX_COLUMNS:
            if file is not None:
                file.seek(0)
            table = _rows(place if file is None else file, missing, as_text)
    except pd.errors.ParserWarning:
        raise _overlong(place, inside=file is not None) from None
    except _BROKEN as error:
        if "fields in line" in str(error):
            raise _overlong(place, inside=file is not None) from None
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"not a readable CSV file: {reason}", place=str(place)) from None
    if len(columns) > MAX_COLUMNS:
        raise _too_wide(place, len(columns))
    if len(table) > MAX_ROWS:
        raise DataError(f"more than {MAX_ROWS} rows", place=str(place))
    if len(table) == 0:
        raise DataError("there is no row below the header", place=str(place))
    return table


def _check_file(place: Path) -> None:
    if not place.is_file():  # a pipe would be waited for, forever
        raise DataError("there is no such file", place=str(place))
    if place.stat().st_size > MAX_BYTES:
        raise DataError("too large", place=str(place), got=f"over {MAX_BYTES} bytes")


def _check_header_line(place: Path) -> None:
    """Refuse a header too wide for any table, before anything reads further."""
    with place.open("rb") as file:
        head = file.readline(MAX_HEADER + 1)
    if len(head) > MAX_HEADER:
        raise _too_wide(place, f"a first line of over {MAX_HEADER} bytes")
    try:
        columns = next(csv.reader([head.decode("utf-8-sig", errors="replace")]), [])
    except csv.Error:
        return  # whatever it is, it is told when the table is read
    if len(columns) > MAX_COLUMNS:
        raise _too_wide(place, len(columns))


def _too_wide(place: Path, got: object) -> DataError:
    return DataError(
        f"more than {MAX_COLUMNS} columns",
        place=str(place),
        got=got,
        fix="keep the columns to learn from; arrays may be wider, as .npz",
    )


def _rows(source: Path | IO[bytes], missing: str, as_text: bool) -> pd.DataFrame:
    import pandas as pd

    with warnings.catch_warnings():
        # What pandas warns of here is that it would drop the fields beyond the header.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            source,
            na_values=[missing],
            nrows=MAX_ROWS + 1,
            low_memory=False,
            dtype=str if as_text else None,
            index_col=False,
        )


def _overlong(place: Path, *, inside: bool) -> DataError:
    """Return what to say of rows with more fields than the header; none is named in an archive."""
    return DataError(
        "a row has more fields than the header",
        place=str(place),
        got=None if inside else _first_overlong(place),
        fix='write fields with commas in them in quotes: "a, b"',
    )


def _first_overlong(place: Path) -> str | None:
    """Return the line of the first such row, preferably of one whose last fields are not empty."""
    try:
        records = _records(place)
        width = len(next(records)[1])
        long = ((line, any(row[width:])) for line, row in records if len(row) > width)
        first = next(long, None)
        if first is None:
            return None
        line = first[0] if first[1] else next((line for line, filled in long if filled), first[0])
    except _UNCOUNTED:
        return None
    return f"line {line} first"


def _records(place: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each record of a CSV file starts on, and its fields.

    As pandas does, blank lines are passed over; the first record is the header.
    """
    with place.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader, line = csv.reader(file), 1
        for row in reader:
            if len(row) > 1 or (row and not row[0].isspace()):
                yield line, row
            line = reader.line_num + 1


def read_header(place: Path) -> tuple[str, ...]:
    """Return the names of a CSV file's columns; none where it is too large or not readable."""
    import pandas as pd

    try:
        _check_file(place)
        _check_header_line(place)
        columns = pd.read_csv(place, nrows=0, index_col=False).columns
    except (*_BROKEN, DataError):
        return ()
    return tuple(str(column) for column in columns)


def need_columns(table: pd.DataFrame, names: Iterable[str], place: Path) -> None:
    """Check that the table has these columns.

    Raises:
        DataError: one is missing; the message suggests the closest.
    """
    for name in names:
        if name not in table.columns:
            raise DataError(
                "there is no such column", place=str(place), got=name, fix=_columns(name, table)
            )


def _columns(name: str, table: pd.DataFrame) -> str:
    """Suggest a column; a first row that holds numbers is a patient's, and not repeated."""
    known = told_columns(table)
    return did_you_mean(name, known) if known else "the first line must name the columns"


def told_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of the columns; none where they look like values of a row."""
    known = [str(column) for column in table.columns]
    return [] if any(_LIKE_A_VALUE.fullmatch(name) for name in known) else known


def refuse_rows(words: str, wrong: Array, place: Path, fix: str | None = None) -> None:
    """Raise what is wrong with some rows of a table; the cells themselves are not repeated.

    Args:
        words: what is wrong with a row.
        wrong: which rows it is wrong with, bool ``[n]``.
        place: the table's file.
        fix: what would do.

    Raises:
        DataError: any row is wrong; the first line is named.
    """
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise DataError(words, place=str(place), got=f"{_line_of(place, first)} first", fix=fix)


def _line_of(place: Path, row: int) -> str:
    """Return where an editor shows a row, counted from 0 below the header.

    Only read again once something is wrong: fields may hold line breaks, and lines may be blank.
    """
    try:
        return f"line {next(islice(_records(place), row + 1, None))[0]}"
    except _UNCOUNTED:
        return f"row {row + 1}"
