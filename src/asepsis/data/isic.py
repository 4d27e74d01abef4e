"""The tables that come with ISIC images: diagnoses, lesions and patients, sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from asepsis.core.errors import DataError, did_you_mean
from asepsis.core.samples import Array
from asepsis.data.coding import codes, texts
from asepsis.data.images import ENDINGS
from asepsis.data.tables import need_columns, read_csv, refuse_rows, told_columns

if TYPE_CHECKING:
    import pandas as pd

IMAGE_COLUMNS = ("image", "image_name", "isic_id", "image_id")
ONE_HOT = ("MEL", "NV", "BCC", "AK", "AKIEC", "BKL", "DF", "VASC", "SCC", "UNK")
DIAGNOSES = ("diagnosis", "dx", "benign_malignant")
OWNERS = ("patient_id", "lesion_id")
NOBODY = ("", "-", "na", "n/a", "nan", "none", "null", "unknown")
"""What stands for an owner that is not known, in small letters."""
SITE = "attribution"
FACTS = ("sex", "anatom_site_general", "localization")
MOST_CLASSES = 50
LONGEST_TEXT = 256


@dataclass(frozen=True)
class Table:
    """A CSV file with a row an image; ``names`` are the images', without ending."""

    place: Path
    rows: pd.DataFrame
    names: tuple[str, ...]

    def has(self, *columns: str) -> bool:
        """Whether there is any of these columns."""
        return any(column in self.rows for column in columns)

    def texts(self, column: str) -> Array:
        """Return a column that must be filled in.

        Raises:
            DataError: there is none, or a row is empty or too long.
        """
        need_columns(self.rows, [column], self.place)
        values, known = self.optional(column)
        self.refuse(f"column '{column}' is empty", ~known, "fill it in")
        return values

    def optional(self, column: str) -> tuple[Array, NDArray[np.bool_]]:
        """Return a column, "" where it is empty, and where it is not.

        Raises:
            DataError: a row is too long.
        """
        long = self.rows[column].str.len().gt(LONGEST_TEXT).to_numpy()
        self.refuse(f"'{column}' should hold at most {LONGEST_TEXT} characters", long)
        values = self.rows[column].fillna("").str.strip().to_numpy(str)
        return values, values != ""

    def refuse(self, words: str, wrong: Array, fix: str | None = None) -> None:
        """Raise what is wrong with some rows, by their lines in the file."""
        lines = self.rows.index.to_numpy()
        every = np.zeros(int(lines.max()) + 1, bool)
        every[lines[wrong]] = True
        refuse_rows(words, every, self.place, fix)

    def take(self, rows: Array) -> Table:
        """Return some of the rows; they know their lines."""
        return Table(self.place, self.rows.iloc[rows], tuple(self.names[row] for row in rows))

    def beside(self, other: Table) -> Table:
        """Return the row of every image that another table tells of, in its order.

        Raises:
            DataError: an image has no row here.
        """
        where = {name: row for row, name in enumerate(self.names)}
        unknown = np.array([name not in where for name in other.names])
        words = f"{self.place.name} does not tell of this image"
        other.refuse(words, unknown, "take the row or that file away")
        return self.take(np.array([where[name] for name in other.names]))


def read_table(place: Path) -> Table:
    """Read a CSV file that has a row an image.

    Raises:
        DataError: it is unreadable, names no images, or an image has no name or two rows.
    """
    rows = read_csv(place, as_text=True)
    column = next((name for name in IMAGE_COLUMNS if name in rows), None)
    if column is None:
        known = told_columns(rows)
        raise DataError(
            f"no column names the images: {', '.join(IMAGE_COLUMNS)}",
            place=str(place),
            got=", ".join(known[:8]),
        )
    empty = rows[column].fillna("").str.strip().eq("").to_numpy()
    refuse_rows(f"column '{column}' is empty", empty, place)
    names = [_stem(name) for name in rows[column]]
    again = rows[column].map(_stem).duplicated().to_numpy()
    refuse_rows("two rows describe the same image", again, place, "take one of them away")
    return Table(place, rows, tuple(names))


def _stem(name: str) -> str:
    """Return the name of an image without its ending, if it has one.

    Example:
        >>> _stem("ISIC_1.jpg"), _stem("ISIC_1.v2")
        ('ISIC_1', 'ISIC_1.v2')
    """
    name = name.strip()
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in ENDINGS else name


def diagnoses(table: Table, target: str | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class of every row, and the classes that occur.

    From the column ``target``; else from the one-hot columns of a challenge; else from the first
    of :data:`DIAGNOSES` that is there.

    Raises:
        DataError: there is no diagnosis, a row has none or several, or there are too many kinds.
    """
    hot = [name for name in ONE_HOT if name in table.rows]
    if target is None and len(hot) > 1:
        names = np.array(hot)[_hot(table, hot)]
    else:
        names = table.texts(target or _diagnosis_of(table))
    classes = np.unique(names)
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise DataError(
            f"there should be 2 to {MOST_CLASSES} diagnoses",
            place=str(table.place),
            got=f"{len(classes)} different values",
            fix="name another column with the option 'target'",
        )
    ordered = [name for name in hot if name in classes] if target is None and len(hot) > 1 else []
    order = ordered or list(texts(classes))
    rank = {name: number for number, name in enumerate(order)}
    return np.array([rank[str(name)] for name in names], np.int64), tuple(order)


def _diagnosis_of(table: Table) -> str:
    found = next((name for name in DIAGNOSES if name in table.rows), None)
    if found is None:
        known = told_columns(table.rows)
        raise DataError(
            "no column tells the diagnosis",
            place=str(table.place),
            got=", ".join(known[:8]),
            fix=f"name it with the option 'target': {did_you_mean('diagnosis', known[:8])}",
        )
    return found


def _hot(table: Table, names: list[str]) -> NDArray[np.int64]:
    """Return which of the columns is 1 in every row."""
    import pandas as pd

    marks = table.rows[names].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    words = f"one of {', '.join(names)} should be 1 and the others 0"
    clear = ((marks == 0) | (marks == 1)).all(axis=1) & (marks.sum(axis=1) == 1)
    table.refuse(words, ~clear)
    return np.asarray(marks.argmax(axis=1), np.int64)


def owners(tables: Sequence[Table]) -> NDArray[np.int64]:
    """Number the patients: rows that share a patient or a lesion, directly or over others.

    A row that names neither, or only a word of :data:`NOBODY`, is somebody of its own.
    """
    n = len(tables[0].names)
    links, start = [np.empty((2, 0), np.int64)], n
    for table in tables:
        for column in [name for name in OWNERS if table.has(name)]:
            values, _ = table.optional(column)
            known = ~np.isin(np.char.lower(values), NOBODY)
            links.append(np.stack([np.flatnonzero(known), start + codes(values[known])]))
            start += int(known.sum())
    rows, values = np.concatenate(links, axis=1)
    graph = csr_array((np.ones(len(rows), np.int8), (rows, values)), shape=(start, start))
    return codes(connected_components(graph, directed=False)[1][:n])
