"""What every set of the MedMNIST family has in common: its file, its card, how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from asepsis.core.errors import DataError
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.dataset import Dataset
from asepsis.data.datasets.medmnist_table import MEDMNIST
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import read_npz

Size2D = Literal[28, 64, 128, 224]
Size3D = Literal[28, 64]
RECORD = "https://zenodo.org/records/10519652/files"
PARTS = ("train", "val", "test")
UNMEASURED = "not measured here; the authors publish tables at medmnist.com"


def medmnist_card(
    name: str, title: str, modality: str, kind: Kind = Kind.IMAGE, expectation: str = UNMEASURED
) -> Card:
    """Return the card of one set of the family."""
    facts = MEDMNIST[name]
    train, validation, test = facts.samples
    sizes = ", ".join(map(str, facts.md5))
    return Card(
        name=name,
        title=title,
        kind=kind,
        modality=modality,
        source="MedMNIST v2 and MedMNIST+ (Yang et al., Scientific Data 2023), Zenodo 10519652",
        licence=facts.licence,
        size=f"{train}/{validation}/{test} (official split), {len(facts.classes)} classes, "
        f"at {sizes} pixels",
        sites="none",
        expectation=expectation,
    )


def medmnist_source(name: str, size: int) -> Source:
    """Return where the file of this size is found, and its official MD5."""
    file = f"{name}.npz" if size == 28 else f"{name}_{size}.npz"
    return Source(
        layout=f"medmnist/{file}",
        url=f"{RECORD}/{file}?download=1",
        md5=MEDMNIST[name].md5[size],
    )


def load_medmnist(component: object, card: Card, path: str | None, size: int) -> Dataset:
    """Load one set of the family.

    Raises:
        DataError: the file cannot be had, is damaged, or holds something else.
    """
    place = locate(medmnist_source(card.name, size), path)
    return remembered(component, place, lambda: _read(place, card, size))


def _read(place: Path, card: Card, size: int) -> Dataset:
    keys = [f"{part}_{what}" for part in PARTS for what in ("images", "labels")]
    arrays = read_npz(place, keys)
    inputs = np.concatenate([arrays[f"{part}_images"] for part in PARTS])
    labels = np.concatenate([arrays[f"{part}_labels"] for part in PARTS])
    if inputs.shape[1:3] != (size, size):
        raise DataError(
            f"images are not {size} pixels wide",
            place=str(place),
            got=inputs.shape[1:],
            fix="set the option 'size' to what the file holds",
        )
    return Dataset(
        name=card.name,
        kind=card.kind,
        inputs=inputs,
        targets=labels if card.kind is Kind.MULTILABEL_IMAGE else labels.reshape(-1),
        classes=MEDMNIST[card.name].classes,
        split=np.repeat([0, 1, 2], [len(arrays[f"{part}_images"]) for part in PARTS]),
    )
