"""Activities from wearable radios (AReM)."""

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

SOURCE = Source(
    layout="timeseries/arem_wearable_rss.npz",
    how="get Activity Recognition system based on Multisensor data fusion "
    "(archive.ics.uci.edu/dataset/366), save an .npz with arrays x [n, 480, 6], y, classes, and "
    "name it with the option 'path'",
)


@register("dataset", "arem")
class Arem:
    """Seven activities from the signal strength of worn radios (AReM).

    float32 ``[88, 480, 6]``; NaN where a step is missing. Who wore them is not recorded.

    Raises DataError when the file cannot be had or is damaged.

    Source: Palumbo et al., Human Activity Recognition Using Multisensor Data Fusion Based on
    Reservoir Computing, Journal of Ambient Intelligence and Smart Environments 2016

    Fidelity: own

    Tasks: sequence

    Example:
        >>> Arem().card.modality
        'wearable radio'
    """

    card: ClassVar[Card] = Card(
        name="arem",
        title="Activities from wearables",
        kind=Kind.SEQUENCE,
        modality="wearable radio",
        source="UCI Machine Learning Repository 366",
        licence="CC BY 4.0",
        size="88 sequences of 480 steps, 6 channels, 7 classes",
        sites="none",
        expectation="logistic regression: accuracy 0.90; very few sequences",
    )

    path: str | None = None

    def source(self) -> Source:
        """Return where the file is found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the sequences and activities."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place))


def _read(place: Path) -> Dataset:
    found = read_npz(place, ("x", "y", "classes"))
    return Dataset(
        name="arem",
        kind=Kind.SEQUENCE,
        inputs=found["x"],
        targets=found["y"],
        classes=texts(found["classes"]),
    )
