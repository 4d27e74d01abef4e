"""A user's own table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from asepsis.core.errors import ConfigError, DataError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.coding import codes, one_hot, texts
from asepsis.data.dataset import Dataset
from asepsis.data.files import existing, remembered
from asepsis.data.tables import need_columns, read_csv

if TYPE_CHECKING:
    import pandas as pd

MOST_LEVELS = 20
MOST_CLASSES = 100


@register("dataset", "csv")
class Csv:
    """Your own CSV table: one row a patient or stay, a column to predict, sites if known.

    The file has a header row. ``target`` is the column to predict, ``site`` the hospital,
    ``group`` the patient; columns in ``ignore`` are left out, all others are features. Numbers
    stay as they are, empty fields and ``?`` are missing, text of at most 20 different values
    becomes one column a value. At most 1,000,000 rows, 2000 columns, 1 GiB.

    Raises DataError when the file is missing, unreadable, too large or does not fit.

    Source: the user's; no paper

    Fidelity: own

    Tasks: table

    Example:
        >>> Csv(path="mine.csv", target="died", site="hospital").target
        'died'
    """

    card: ClassVar[Card] = Card(
        name="csv",
        title="Your own table",
        kind=Kind.TABLE,
        modality="any",
        source="a file of yours",
        licence="yours",
        size="up to 1,000,000 rows",
        sites="as you name them",
        expectation="unknown",
        public=False,
    )

    path: str | None = None
    target: str = "target"
    site: str | None = None
    group: str | None = None
    ignore: tuple[str, ...] = ()

    def load(self) -> Dataset:
        """Return the rows of the table."""
        if self.path is None:
            raise ConfigError("say which file", place="dataset.path", fix='path = "mine.csv"')
        place = existing(self.path)
        return remembered(self, place, lambda: _read(self, place))


def _read(options: Csv, place: Path) -> Dataset:
    table = read_csv(place)
    special = [options.target, *filter(None, (options.site, options.group))]
    need_columns(table, (*special, *options.ignore), place)
    for name in special:
        _complete(table, name, place)
    names, targets = np.unique(table[options.target].to_numpy(), return_inverse=True)
    if len(names) > MOST_CLASSES or len(names) < 2:
        raise DataError(
            f"column '{options.target}' should hold 2 to {MOST_CLASSES} classes",
            place=str(place),
            got=f"{len(names)} different values",
        )
    group, site = options.group, options.site
    return Dataset(
        name="csv",
        kind=Kind.TABLE,
        inputs=_features(table.drop(columns=[*special, *options.ignore]), place),
        targets=targets,
        classes=texts(names),
        groups=np.empty(0, np.int64) if group is None else codes(table[group].to_numpy(str)),
        sites=None if site is None else table[site].astype(str).to_numpy(str),
    )


def _complete(table: pd.DataFrame, name: str, place: Path) -> None:
    missing = np.flatnonzero(table[name].isna().to_numpy())
    if len(missing):
        raise DataError(
            f"column '{name}' is empty in {len(missing)} rows",
            place=str(place),
            got=f"line {missing[0] + 2} first",
            fix="fill it in or remove the rows",
        )


def _features(table: pd.DataFrame, place: Path) -> NDArray[np.float32]:
    columns = [_encoded(table[name], str(name), place) for name in table.columns]
    if not columns:
        raise DataError("no column is left to learn from", place=str(place))
    return np.column_stack(columns)


def _encoded(column: pd.Series, name: str, place: Path) -> NDArray[np.float32]:
    if column.dtype.kind in "biuf":
        return column.to_numpy(np.float32)[:, None]
    values = column.astype(str).to_numpy(str)
    levels = texts(np.unique(values[column.notna().to_numpy()]))
    if len(levels) > MOST_LEVELS:
        raise DataError(
            f"column '{name}' is text with {len(levels)} different values",
            place=str(place),
            fix=f'ignore = ["{name}"], or encode it as numbers',
        )
    return one_hot(values, levels)
