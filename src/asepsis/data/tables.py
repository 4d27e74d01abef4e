"""Read CSV files from strangers: bounded, and with messages that say what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
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
_BROKEN = (ValueError, OSError, RecursionError)


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

    if file is None and place.stat().st_size > MAX_BYTES:
        raise DataError("too large", place=str(place), got=f"over {MAX_BYTES} bytes")
    try:
        columns = list(pd.read_csv(place if file is None else file, nrows=0).columns)
        if len(columns) <= MAX_COLUMNS:
            if file is not None:
                file.seek(0)
            source = place if file is None else file
            table = pd.read_csv(
                source,
                na_values=[missing],
                nrows=MAX_ROWS + 1,
                low_memory=False,
                dtype=str if as_text else None,
            )
    except _BROKEN as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"not a readable CSV file: {reason}", place=str(place)) from None
    if len(columns) > MAX_COLUMNS:
        raise DataError(f"more than {MAX_COLUMNS} columns", place=str(place), got=len(columns))
    if len(table) > MAX_ROWS:
        raise DataError(f"more than {MAX_ROWS} rows", place=str(place))
    if len(table) == 0:
        raise DataError("there is no row below the header", place=str(place))
    return table


def read_header(place: Path) -> tuple[str, ...]:
    """Return the names of a CSV file's columns; none where it is too large or not readable."""
    import pandas as pd

    if place.stat().st_size > MAX_BYTES:
        return ()
    try:
        columns = pd.read_csv(place, nrows=0).columns
    except _BROKEN:
        return ()
    return tuple(str(column) for column in columns)


def need_columns(table: pd.DataFrame, names: Iterable[str], place: Path) -> None:
    """Check that the table has these columns.

    Raises:
        DataError: one is missing; the message suggests the closest.
    """
    for name in names:
        if name not in table.columns:
            known = [str(column) for column in table.columns]
            raise DataError(
                "there is no such column", place=str(place), got=name, fix=did_you_mean(name, known)
            )


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
        line = int(np.flatnonzero(wrong)[0]) + 2
        raise DataError(words, place=str(place), got=f"line {line} first", fix=fix)
