"""Pigmented skin lesions (HAM10000)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.coding import texts
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import read_npz

FACTS = ("age", "sex", "localization")
SOURCE = Source(
    layout="images/ham10000_28.npz",
    how="get HAM10000 from Harvard Dataverse (doi:10.7910/DVN/DBW86T), save an .npz with arrays "
    "images uint8 [n, 28, 28, 3], labels, classes, lesion, age, sex, localization, and name it "
    "with the option 'path'; or use dermamnist",
)


@register("dataset", "skin-lesions")
class SkinLesions:
    """Seven kinds of pigmented skin lesion, by lesion (HAM10000).

    uint8 ``[10013, 28, 28, 3]``, center crops; 7470 lesions, some photographed several times and
    never split. Not the official DermaMNIST.

    Raises DataError when the file cannot be had or is damaged.

    Source: Tschandl et al., The HAM10000 Dataset, Scientific Data 2018

    Fidelity: own

    Tasks: image

    Example:
        >>> SkinLesions().card.licence
        'CC BY-NC 4.0'
    """

    card: ClassVar[Card] = Card(
        name="skin-lesions",
        title="Skin lesions",
        kind=Kind.IMAGE,
        modality="dermatoscopy, color",
        source="HAM10000, Harvard Dataverse",
        licence="CC BY-NC 4.0",
        size="10,013 images of 7470 lesions at 28 pixels, 7 classes",
        sites="none",
        expectation="two thirds are moles (nv): use balanced accuracy or macro-F1",
    )

    path: str | None = None

    def source(self) -> Source:
        """Return where the file is found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place))


def _read(place: Path) -> Dataset:
    found = read_npz(place, ("images", "labels", "classes", "lesion", *FACTS))
    return Dataset(
        name="skin-lesions",
        kind=Kind.IMAGE,
        inputs=found["images"],
        targets=found["labels"],
        classes=texts(found["classes"]),
        groups=found["lesion"],
        attributes={name: found[name] for name in FACTS},
    )
