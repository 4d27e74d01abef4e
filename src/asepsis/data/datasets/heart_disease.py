"""Heart disease in four real hospitals (UCI 45)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from asepsis.core.errors import DataError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import open_zip, read_member

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
COLUMNS = 14
_LIMIT = 10 * 2**20
SOURCE = Source(
    layout="ehr/uci45_heart_disease",
    url="https://archive.ics.uci.edu/static/public/45/heart+disease.zip",
    saved_as="heart-disease.zip",
)


@register("dataset", "heart-disease")
class HeartDisease:
    """Heart disease from 13 findings, 920 patients of four real hospitals.

    float32 ``[920, 13]``: age, sex, chest pain, resting pressure, cholesterol, fasting sugar,
    resting ECG, maximal heart rate, exercise angina, ST depression, slope, vessels, thallium
    scan. ``?`` is NaN; values are otherwise as recorded (a cholesterol of 0 in Switzerland was
    not measured). The class is ``num > 0``. ``path`` is a folder or the official archive.

    Raises DataError when the files cannot be had or a row does not have 14 numbers.

    Source: Detrano et al., American Journal of Cardiology 1989; UCI Machine Learning Repository 45

    Fidelity: paper

    Tasks: table

    Example:
        >>> HeartDisease().card.sites
        '4 real hospitals: cleveland, hungarian, switzerland, va'
    """

    card: ClassVar[Card] = Card(
        name="heart-disease",
        title="Heart disease, four hospitals",
        kind=Kind.TABLE,
        modality="EHR, cardiology",
        source="UCI Machine Learning Repository 45, processed.*.data",
        licence="CC BY 4.0",
        size="920 patients (303/294/123/200), 13 features, 2 classes",
        sites="4 real hospitals: cleveland, hungarian, switzerland, va",
        expectation="logistic regression, leave one hospital out: accuracy 0.79/0.82/0.67/0.75",
    )

    path: str | None = None

    def source(self) -> Source:
        """Return where the files are found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the patients of all four hospitals."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place))


def _read(place: Path) -> Dataset:
    tables = [_table(_content(place, name), f"{place}/{name}") for name in HOSPITALS]
    rows = np.concatenate(tables)
    return Dataset(
        name="heart-disease",
        kind=Kind.TABLE,
        inputs=rows[:, :-1],
        targets=(rows[:, -1] > 0).astype(np.int64),
        classes=("healthy", "heart disease"),
        sites=np.repeat(HOSPITALS, [len(table) for table in tables]),
    )


def _content(place: Path, hospital: str) -> bytes:
    name = f"processed.{hospital}.data"
    if not place.is_dir():
        with open_zip(place) as archive:
            return read_member(archive, name, place, _LIMIT)
    try:
        if not (place / name).is_file():  # a pipe would be waited for, forever
            raise DataError(f"there is no {name}", place=str(place))
        with (place / name).open("rb") as file:
            return file.read(_LIMIT)
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror}", place=str(place)) from None


def _table(content: bytes, place: str) -> NDArray[np.float32]:
    try:
        text = content.decode("ascii").replace("?", "nan")
        table = np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.float32, ndmin=2)
    except ValueError as error:
        raise DataError(f"damaged: {error}", place=place, fix="fetch it again") from None
    if table.shape[1] != COLUMNS or np.isnan(table[:, -1]).any():
        raise DataError(f"a row is not {COLUMNS} numbers", place=place, fix="fetch it again")
    return table
