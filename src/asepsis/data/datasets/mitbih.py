"""Heartbeats of 47 patients (MIT-BIH Arrhythmia Database)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import read_npz

UNITS_PER_MILLIVOLT = 200
SAME_PATIENT = {202: 201}
CLASSES = ("N", "S", "V", "F", "Q")
SOURCE = Source(
    layout="timeseries/mitbih_aami_beats_180hz.npz",
    how="get the MIT-BIH Arrhythmia Database (physionet.org/content/mitdb), cut 128 samples at "
    "180 Hz around each beat, save an .npz with arrays x int16, y (0 to 4: N, S, V, F, Q), "
    "record, and name it with the option 'path'",
)


@register("dataset", "mitbih")
class MitBih:
    """Heartbeats in five AAMI classes, 48 recordings of 47 patients.

    float32 ``[109449, 128, 1]`` in millivolts (200 units each), 180 Hz. Sites are patients:
    recordings 201 and 202 are of one. ``unit = "patient"`` never splits a patient, so each
    hospital needs at least three of them (``iid``, ``dirichlet``); ``unit = "beat"`` also splits
    within a patient, as wearables of one patient each would: such figures are optimistic.

    Raises DataError when the file cannot be had or is damaged.

    Source: Moody and Mark, The Impact of the MIT-BIH Arrhythmia Database, IEEE EMB Magazine 2001

    Fidelity: own

    Tasks: sequence

    Example:
        >>> MitBih(unit="beat").unit
        'beat'
    """

    card: ClassVar[Card] = Card(
        name="mitbih",
        title="Heartbeats",
        kind=Kind.SEQUENCE,
        modality="ECG",
        source="MIT-BIH Arrhythmia Database, PhysioNet",
        licence="ODC-By 1.0",
        size="109,449 beats of 128 samples, 5 classes (90592/2781/7235/802/8039)",
        sites="47 patients",
        expectation="between patients accuracy 0.861 is below the majority's 0.890: "
        "use macro-F1 or balanced accuracy",
    )

    path: str | None = None
    unit: Literal["patient", "beat"] = "patient"

    def source(self) -> Source:
        """Return where the file is found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the beats and their classes."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place, self.unit == "patient"))


def _read(place: Path, by_patient: bool) -> Dataset:
    found = read_npz(place, ("x", "y", "record"))
    record = found["record"].astype(np.int64)
    patient = record.copy()
    for second, first in SAME_PATIENT.items():
        patient[record == second] = first
    return Dataset(
        name="mitbih",
        kind=Kind.SEQUENCE,
        inputs=found["x"].astype(np.float32)[:, :, None] / np.float32(UNITS_PER_MILLIVOLT),
        targets=found["y"],
        classes=CLASSES,
        groups=patient if by_patient else np.arange(len(record)),
        sites=np.char.add("patient-", patient.astype(str)),
        attributes={"record": record},
    )
