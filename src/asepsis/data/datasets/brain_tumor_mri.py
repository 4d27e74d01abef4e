"""Brain tumors in MRI slices."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.coding import texts
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import read_npz

PARTS = ("train", "val", "test")
SOURCE = Source(
    layout="images/brain_tumor_mri_64.npz",
    how="get the Brain Tumor MRI Dataset (kaggle.com/datasets/masoudnickparvar/"
    "brain-tumor-mri-dataset), save an .npz with arrays {train,val,test}_images uint8 [n, 64, 64], "
    "{train,val,test}_labels, classes, and name it with the option 'path'",
)


@register("dataset", "brain-tumor-mri")
class BrainTumorMri:
    """Glioma, meningioma, pituitary tumor or none in MRI slices of the brain.

    uint8 ``[7020, 64, 64]``; the collection's own training and test folders, a tenth of training
    as validation. No patient ids: slices of one patient may be in both, so figures are optimistic.

    Raises DataError when the file cannot be had or is damaged.

    Source: Nickparvar, Brain Tumor MRI Dataset (figshare 1512427, SARTAJ, Br35H); no paper

    Fidelity: own

    Tasks: image

    Example:
        >>> BrainTumorMri().card.modality
        'MRI'
    """

    card: ClassVar[Card] = Card(
        name="brain-tumor-mri",
        title="Brain tumors",
        kind=Kind.IMAGE,
        modality="MRI",
        source="Brain Tumor MRI Dataset: figshare 1512427, SARTAJ, Br35H",
        licence="CC0 as published; parts CC BY 4.0",
        size="5138/570/1312 at 64 pixels, 4 classes",
        sites="none",
        expectation="accuracy 0.80 after 4 epochs; patients may be in training and test",
    )

    path: str | None = None

    def source(self) -> Source:
        """Return where the file is found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the slices and diagnoses."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place))


def _read(place: Path) -> Dataset:
    keys = [f"{part}_{what}" for part in PARTS for what in ("images", "labels")]
    found = read_npz(place, [*keys, "classes"])
    return Dataset(
        name="brain-tumor-mri",
        kind=Kind.IMAGE,
        inputs=np.concatenate([found[f"{part}_images"] for part in PARTS]),
        targets=np.concatenate([found[f"{part}_labels"].reshape(-1) for part in PARTS]),
        classes=texts(found["classes"]),
        split=np.repeat([0, 1, 2], [len(found[f"{part}_images"]) for part in PARTS]),
    )
