"""Death in hospital from the first 48 hours of intensive care (PhysioNet Challenge 2012)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind
from asepsis.data.cards import Card
from asepsis.data.coding import texts
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import read_npz

UNITS = ("", "coronary care", "cardiac surgery recovery", "medical", "surgical")
CLASSES = ("survived", "died")
SUMMARY = Source(
    layout="ehr/physionet2012_summary_12000.npz",
    how="get the Challenge 2012 records (physionet.org/content/challenge-2012), summarize each "
    "variable over 48 hours (count, mean, min, max, first, last), save an .npz with arrays x, "
    "features, record_id, set, in_hospital_death, icu_type, and name it with the option 'path'",
)
HOURLY = Source(
    layout="ehr/physionet2012_seta_hourly.npz",
    how="get set A of Challenge 2012 (physionet.org/content/challenge-2012), bin 37 variables by "
    "hour, save an .npz with arrays x [n, 48, 37], static, static_names, record_id, "
    "in_hospital_death, and name it with the option 'path'",
)


@register("dataset", "physionet2012")
class Physionet2012:
    """Death in hospital from 48 hours of intensive care, summarized, four kinds of unit.

    float32 ``[12000, 227]``: age, sex, height, weight, unit, and six summaries (count, mean, min,
    max, first, last) of each vital sign and laboratory value; NaN is missing. SAPS, SOFA, length of
    stay and survival time are no features. ``split = "set"`` makes the challenge's set A training,
    B validation and C test (4000 each); ``random`` leaves splitting to each hospital.

    Raises DataError when the file cannot be had or is damaged.

    Source: Silva et al., Predicting In-Hospital Mortality of ICU Patients, Computing in
    Cardiology 2012

    Fidelity: own

    Tasks: table

    Example:
        >>> Physionet2012().split
        'random'
    """

    card: ClassVar[Card] = Card(
        name="physionet2012",
        title="Intensive care mortality, 48-hour summaries",
        kind=Kind.TABLE,
        modality="EHR, intensive care",
        source="PhysioNet/Computing in Cardiology Challenge 2012, sets A, B, C",
        licence="ODC-By 1.0",
        size="12,000 stays (4000 a set), 227 features, 14.2 % died",
        sites="4 kinds of intensive care unit",
        expectation="AUC 0.876",
    )

    path: str | None = None
    split: Literal["random", "set"] = "random"

    def source(self) -> Source:
        """Return where the file is found."""
        return SUMMARY

    def load(self) -> Dataset:
        """Return the stays and who died."""
        place = locate(SUMMARY, self.path)
        return remembered(self, place, lambda: _summary(place, self.split == "set"))


@register("dataset", "physionet2012-hourly")
class Physionet2012Hourly:
    """Death in hospital from 48 hours of intensive care, hour by hour, four kinds of unit.

    float32 ``[4000, 48, 37]``: 37 vital signs and laboratory values in 48 hourly bins, NaN where
    nothing was measured. Age, sex, height and weight are attributes, not inputs.

    Raises DataError when the file cannot be had or is damaged.

    Source: Silva et al., Predicting In-Hospital Mortality of ICU Patients, Computing in
    Cardiology 2012

    Fidelity: own

    Tasks: sequence

    Example:
        >>> Physionet2012Hourly().card.kind.value
        'sequence'
    """

    card: ClassVar[Card] = Card(
        name="physionet2012-hourly",
        title="Intensive care mortality, hourly",
        kind=Kind.SEQUENCE,
        modality="EHR, intensive care time series",
        source="PhysioNet/Computing in Cardiology Challenge 2012, set A",
        licence="ODC-By 1.0",
        size="4000 stays, 48 hours, 37 variables",
        sites="4 kinds of intensive care unit",
        expectation="not measured here; most values are missing",
    )

    path: str | None = None

    def source(self) -> Source:
        """Return where the file is found."""
        return HOURLY

    def load(self) -> Dataset:
        """Return the stays and who died."""
        place = locate(HOURLY, self.path)
        return remembered(self, place, lambda: _hourly(place))


def _summary(place: Path, by_set: bool) -> Dataset:
    keys = ("x", "record_id", "set", "in_hospital_death", "icu_type")
    found = read_npz(place, keys)
    split = np.searchsorted(["a", "b", "c"], found["set"]) if by_set else None
    return Dataset(
        name="physionet2012",
        kind=Kind.TABLE,
        inputs=found["x"],
        targets=found["in_hospital_death"],
        classes=CLASSES,
        groups=found["record_id"],
        sites=_units(found["icu_type"]),
        split=split,
    )


def _hourly(place: Path) -> Dataset:
    found = read_npz(place, ("x", "static", "static_names", "record_id", "in_hospital_death"))
    static = dict(zip(texts(found["static_names"]), found["static"].T, strict=True))
    return Dataset(
        name="physionet2012-hourly",
        kind=Kind.SEQUENCE,
        inputs=found["x"].astype(np.float32),
        targets=found["in_hospital_death"],
        classes=CLASSES,
        groups=found["record_id"],
        sites=_units(static.pop("ICUType")),
        attributes=static,
    )


def _units(code: Array) -> Array:
    return np.array(UNITS)[code.astype(np.int64)]
