"""Chest X-rays with fourteen findings (NIH ChestX-ray14)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from asepsis.core.errors import DataError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.coding import texts
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import read_npz

FACTS = ("view", "age", "sex", "source", "native")
SOURCE = Source(
    layout="cxr/nih_cxr14_128.npz",
    how="get ChestX-ray14 from the NIH Clinical Center (nihcc.app.box.com/v/ChestXray-NIHCC), "
    "save an .npz with arrays images uint8 [n, h, w], labels [n, 14], classes, patient, view, age, "
    "sex, source, native, and name it with the option 'path'; or use chestmnist",
)


@register("dataset", "nih-chest-xray")
class NihChestXray:
    """Real chest X-rays with any of fourteen findings, by patient (NIH ChestX-ray14 subset).

    uint8 ``[2911, 128, 128]``, targets ``[2911, 14]``. ``min_native`` keeps images whose original
    had at least so many pixels a side; 224 gives true resolution (1956 images). No hospital is
    recorded; the collection an image came through is an attribute, confounded with the labels.

    Raises DataError when the file cannot be had or is damaged, or nothing is left.

    Source: Wang et al., ChestX-ray8, CVPR 2017

    Fidelity: own

    Tasks: multilabel-image

    Example:
        >>> NihChestXray(min_native=224).min_native
        224
    """

    card: ClassVar[Card] = Card(
        name="nih-chest-xray",
        title="Chest X-ray findings",
        kind=Kind.MULTILABEL_IMAGE,
        modality="X-ray",
        source="NIH Clinical Center, ChestX-ray14",
        licence="free with acknowledgement (NIH Clinical Center)",
        size="2911 images of 1620 patients at 128 pixels, 14 findings; 1956 of true resolution",
        sites="none",
        expectation="linear model on 32² pixels within a source: AUC pneumonia 0.81, edema "
        "0.7-0.8, cardiomegaly 0.7, effusion 0.6-0.7, others near chance; prevalence not natural",
    )

    path: str | None = None
    min_native: Annotated[int, Field(ge=0)] = 0

    def source(self) -> Source:
        """Return where the file is found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the images and findings."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place, self.min_native))


def _read(place: Path, min_native: int) -> Dataset:
    found = read_npz(place, ("images", "labels", "classes", "patient", *FACTS))
    kept = found["native"] >= min_native
    if not kept.any():
        raise DataError("no image is that large", place=str(place), got=f"min_native {min_native}")
    return Dataset(
        name="nih-chest-xray",
        kind=Kind.MULTILABEL_IMAGE,
        inputs=found["images"][kept],
        targets=found["labels"][kept],
        classes=texts(found["classes"]),
        groups=found["patient"][kept],
        attributes={name: found[name][kept] for name in FACTS},
    )
