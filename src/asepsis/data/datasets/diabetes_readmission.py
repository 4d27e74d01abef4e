"""Readmission of patients with diabetes (UCI 296)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from asepsis.core.errors import DataError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.coding import one_hot
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import open_zip, read_member
from asepsis.data.tables import need_columns, read_csv

if TYPE_CHECKING:
    import pandas as pd

COUNTS = (
    *("time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications"),
    *("number_outpatient", "number_emergency", "number_inpatient", "number_diagnoses"),
)
LEVELS = {
    "gender": ("Male",),
    "admission_type_id": ("1", "2", "3"),
    "A1Cresult": ("Norm", ">7", ">8"),
    "max_glu_serum": ("Norm", ">200", ">300"),
    "metformin": ("Steady", "Up", "Down"),
    "insulin": ("Steady", "Up", "Down"),
    "change": ("Ch",),
    "diabetesMed": ("Yes",),
}
SITES = {"admission-source": "admission_source_id", "specialty": "medical_specialty"}
MEMBER = "diabetic_data.csv"
_LIMIT = 100 * 2**20
SOURCE = Source(
    layout="ehr/uci296_dataset_diabetes.zip",
    url="https://archive.ics.uci.edu/static/public/296/"
    "diabetes+130-us+hospitals+for+years+1999-2008.zip",
    saved_as="diabetes-readmission.zip",
)


@register("dataset", "diabetes-readmission")
class DiabetesReadmission:
    """Readmission within 30 days, 101,766 hospital stays of 71,518 patients with diabetes.

    float32 ``[101766, 27]``: age (middle of its decade), eight counts of the stay and of the year
    before, sex, type of admission, tests and changes of medication (one column a level). All is
    known at discharge. Stays that ended in death or a hospice are kept, as nobody's readmission.
    Which of the 130 hospitals is not recorded: ``site`` is a stand-in, the admission source or
    the physician's specialty.

    Raises DataError when the archive cannot be had or is damaged.

    Source: Strack et al., Impact of HbA1c Measurement on Hospital Readmission Rates, BioMed
    Research International 2014

    Fidelity: own

    Tasks: table

    Example:
        >>> DiabetesReadmission().site
        'admission-source'
    """

    card: ClassVar[Card] = Card(
        name="diabetes-readmission",
        title="Readmission with diabetes",
        kind=Kind.TABLE,
        modality="EHR, discharge",
        source="UCI Machine Learning Repository 296",
        licence="CC BY 4.0",
        size="101,766 stays of 71,518 patients, 27 features, 11.2 % readmitted in 30 days",
        sites="stand-ins only: 17 admission sources or 73 specialties",
        expectation="hard: not measured here; use AUC",
    )

    path: str | None = None
    site: Literal["admission-source", "specialty"] = "admission-source"

    def source(self) -> Source:
        """Return where the archive is found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the stays and who was readmitted."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place, SITES[self.site]))


def _read(place: Path, site: str) -> Dataset:
    with open_zip(place) as archive:
        inside = [name for name in archive.namelist() if name.endswith(MEMBER)]
        if not inside:
            raise DataError(f"the archive has no '{MEMBER}'", place=str(place))
        content = read_member(archive, inside[0], place, _LIMIT)
    table = read_csv(place, io.BytesIO(content))
    need_columns(table, (*COUNTS, *LEVELS, site, "age", "patient_nbr", "readmitted"), place)
    return Dataset(
        name="diabetes-readmission",
        kind=Kind.TABLE,
        inputs=_features(table),
        targets=(table["readmitted"] == "<30").to_numpy(),
        classes=("not within 30 days", "within 30 days"),
        groups=table["patient_nbr"].to_numpy(),
        sites=table[site].astype(str).replace("nan", "unknown").to_numpy(str),
        attributes={"race": table["race"].astype(str).to_numpy(str)} if "race" in table else {},
    )


def _features(table: pd.DataFrame) -> NDArray[np.float32]:
    decade = table["age"].str.extract(r"(\d+)-", expand=False).astype(np.float32) + 5
    counts = table[list(COUNTS)].to_numpy(np.float32)
    levels = [
        one_hot(table[name].astype(str).to_numpy(str), known) for name, known in LEVELS.items()
    ]
    return np.column_stack([decade.to_numpy(), counts, *levels])
