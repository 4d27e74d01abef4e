"""Pairs of MRI contrasts of three patients with multiple sclerosis."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.coding import codes
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import read_npz

SOURCE = Source(
    layout="mri_ct/ljubljana_ms_t1_t2_flair_128.npz",
    how="get the Ljubljana MS lesion data (github.com/muschellij2/open_ms_data), save an .npz with "
    "arrays T1, T2, FLAIR, lesion uint8 [n, h, w], patient, z, and name it with the option 'path'",
)


@register("dataset", "ljubljana-ms")
class LjubljanaMs:
    """T1 and another MRI contrast of the same slice, three patients with multiple sclerosis.

    Inputs T1, targets T2 (or FLAIR), both uint8 ``[300, 128, 128]``; attribute ``lesion`` marks
    lesions. Sites are patients. Three patients cannot be split three ways within several
    hospitals: ``unit = "slice"`` splits slices instead, and neighbors leak.

    Raises DataError when the file cannot be had or is damaged.

    Source: Lesjak et al., A Novel Public MR Image Dataset of Multiple Sclerosis Patients,
    Neuroinformatics 2018

    Fidelity: own

    Tasks: paired-image

    Example:
        >>> LjubljanaMs().target
        'T2'
    """

    card: ClassVar[Card] = Card(
        name="ljubljana-ms",
        title="T1 to T2, multiple sclerosis",
        kind=Kind.PAIRED_IMAGE,
        modality="MRI",
        source="Laboratory of Imaging Technologies, University of Ljubljana; open_ms_data",
        licence="CC BY 4.0",
        size="3 patients × 100 axial slices at 128 pixels",
        sites="3 patients",
        expectation="not measured here; three patients support no claim",
    )

    path: str | None = None
    target: Literal["T2", "FLAIR"] = "T2"
    unit: Literal["patient", "slice"] = "patient"

    def source(self) -> Source:
        """Return where the file is found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the pairs."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place, self.target, self.unit == "patient"))


def _read(place: Path, target: str, by_patient: bool) -> Dataset:
    found = read_npz(place, ("T1", target, "lesion", "patient", "z"))
    return Dataset(
        name="ljubljana-ms",
        kind=Kind.PAIRED_IMAGE,
        inputs=found["T1"],
        targets=found[target],
        classes=(),
        groups=codes(found["patient"]) if by_patient else np.arange(len(found["z"])),
        sites=found["patient"],
        attributes={"lesion": found["lesion"] > 0, "z": found["z"]},
    )
