"""Death in hospital after intensive care: the eICU demo with its many small hospitals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.coding import one_hot
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.tables import need_columns, read_csv

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = (
    *("admissionheight", "admissionweight", "intubated", "vent", "dialysis", "eyes", "motor"),
    *("verbal", "meds", "urine", "wbc", "temperature", "respiratoryrate", "sodium", "heartrate"),
    *("meanbp", "ph", "hematocrit", "creatinine", "albumin", "pao2", "pco2", "bun", "glucose"),
    *("bilirubin", "fio2", "aids", "hepaticfailure", "lymphoma", "metastaticcancer", "leukemia"),
    *("immunosuppression", "cirrhosis", "electivesurgery", "diabetes", "thrombolytics"),
    *("ventday1", "readmit", "acutephysiologyscore", "apachescore"),
)
LEVELS = {
    "unittype": (
        *("Med-Surg ICU", "MICU", "Cardiac ICU", "SICU"),
        *("CCU-CTICU", "Neuro ICU", "CSICU", "CTICU"),
    ),
    "unitstaytype": ("admit", "stepdown/other", "readmit", "transfer"),
}
OUTCOME = "hospitaldischargestatus"
SOURCE = Source(
    layout="ehr/eicu_demo_apache.csv",
    how="get the eICU Collaborative Research Database Demo (physionet.org/content/eicu-crd-demo), "
    "join patient, hospital, apacheApsVar, apachePredVar and apachePatientResult by stay, and "
    "name the file with the option 'path'",
)


@register("dataset", "eicu")
class Eicu:
    """Death in hospital from the first day of intensive care, 186 hospitals (eICU demo).

    float32 ``[2492, 54]``: age (over 89 is 90), sex, height, weight, the APACHE variables of the
    first day with NaN for missing, the two severity scores computed from them (-1 is missing),
    kind of unit and of stay. Stays whose outcome is unknown are left out. Whatever is known only
    afterwards is no feature: discharge, length of stay, actual and ICU mortality; nor is what
    names the hospital. ``site`` is the hospital or one of four regions (``unknown`` where not
    given); hospitals with fewer than ``min_stays`` are left out. The file does not tell which
    stays are of one patient: the unit is the stay.

    Raises DataError when the file cannot be had or lacks a column.

    Source: Pollard et al., The eICU Collaborative Research Database, Scientific Data 2018

    Fidelity: own

    Tasks: table

    Example:
        >>> Eicu().site
        'hospital'
    """

    card: ClassVar[Card] = Card(
        name="eicu",
        title="Intensive care, eICU demo",
        kind=Kind.TABLE,
        modality="EHR, intensive care",
        source="eICU Collaborative Research Database Demo 2.0.1, PhysioNet",
        licence="ODbL 1.0",
        size="2492 stays with a known outcome, 212 deaths, 54 features",
        sites="186 hospitals of 10 to 40 stays, or 4 regions",
        expectation="AUC 0.80 on the held-out region South; no accuracy claims: 8.5 % die",
    )

    path: str | None = None
    site: Literal["hospital", "region"] = "hospital"
    min_stays: Annotated[int, Field(ge=0)] = 0

    def source(self) -> Source:
        """Return where the file is found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the stays and who died."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place, self.site, self.min_stays))


def _read(place: Path, site: str, min_stays: int) -> Dataset:
    table = read_csv(place)
    wanted = (*NUMBERS, *LEVELS, OUTCOME, "age", "gender", "ethnicity", "hospitalid", "region")
    need_columns(table, ("patientunitstayid", *wanted), place)
    table = table[table[OUTCOME].isin(["Alive", "Expired"])]
    stays = table.groupby("hospitalid")["hospitalid"].transform("size")
    table = table[stays >= min_stays]
    named = (
        "hospital-" + table["hospitalid"].astype(str).str.zfill(3)
        if site == "hospital"
        else table["region"].fillna("unknown")
    )
    return Dataset(
        name="eicu",
        kind=Kind.TABLE,
        inputs=_features(table),
        targets=(table[OUTCOME] == "Expired").to_numpy(),
        classes=("survived", "died"),
        groups=table["patientunitstayid"].to_numpy(),
        sites=named.to_numpy(str),
        attributes={
            "gender": table["gender"].fillna("unknown").to_numpy(str),
            "ethnicity": table["ethnicity"].fillna("unknown").to_numpy(str),
        },
    )


def _features(table: pd.DataFrame) -> NDArray[np.float32]:
    age = table["age"].replace("> 89", "90").astype(np.float32)
    male = table["gender"].map({"Male": 1.0, "Female": 0.0}).astype(np.float32)
    numbers = table[list(NUMBERS)].astype(np.float32).copy()
    scores = ["acutephysiologyscore", "apachescore"]
    numbers[scores] = numbers[scores].where(numbers[scores] >= 0)
    levels = [one_hot(table[name].to_numpy(str), known) for name, known in LEVELS.items()]
    return np.column_stack([age.to_numpy(), male.to_numpy(), numbers.to_numpy(), *levels])
