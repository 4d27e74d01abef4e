"""Chest X-rays from several countries."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.coding import codes, texts
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import read_npz

SOURCE = Source(
    layout="cxr/cxr_multisite_128.npz",
    how="get the covid-chestxray-dataset (github.com/ieee8023/covid-chestxray-dataset), save an "
    ".npz with arrays images uint8 [n, h, w], labels, classes, site, patient, and name it with "
    "the option 'path'",
)


@register("dataset", "cxr-multisite")
class CxrMultisite:
    """Chest X-rays with no finding, other pneumonia or COVID-19, six groups of sites.

    uint8 ``[1279, 128, 128]``; split by patient. Site and label are confounded (nearly all normal
    images come from one site): good for strongly non-IID tests, not for claims of accuracy.

    Raises DataError when the file cannot be had or is damaged.

    Source: Cohen et al., COVID-19 Image Data Collection, arXiv 2006.11988

    Fidelity: own

    Tasks: image

    Example:
        >>> CxrMultisite().card.modality
        'X-ray'
    """

    card: ClassVar[Card] = Card(
        name="cxr-multisite",
        title="Chest X-rays from six groups of sites",
        kind=Kind.IMAGE,
        modality="X-ray",
        source="covid-chestxray-dataset and NIH ChestX-ray14, images with an explicit licence",
        licence="per image: CC BY, CC BY-SA, CC BY-NC-SA, NIH",
        size="1279 images of 836 patients at 128 pixels, 3 classes",
        sites="6: Europe-other, Hannover, Italy, NIH-US, Rest-of-world, Spain",
        expectation="site and label are confounded: no accuracy claims",
    )

    path: str | None = None

    def source(self) -> Source:
        """Return where the file is found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the images, diagnoses and sites."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place))


def _read(place: Path) -> Dataset:
    found = read_npz(place, ("images", "labels", "classes", "site", "patient"))
    return Dataset(
        name="cxr-multisite",
        kind=Kind.IMAGE,
        inputs=found["images"],
        targets=found["labels"],
        classes=texts(found["classes"]),
        groups=codes(found["patient"]),
        sites=found["site"],
    )
