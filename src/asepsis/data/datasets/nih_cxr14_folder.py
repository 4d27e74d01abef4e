"""The NIH ChestX-ray14 collection as its users have it: PNG files and a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asepsis.core.errors import ConfigError, DataError, did_you_mean
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind
from asepsis.data.cards import Card
from asepsis.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from asepsis.data.files import existing, remembered
from asepsis.data.images import images_by_name, read_images
from asepsis.data.tables import need_columns, read_csv, refuse_rows

if TYPE_CHECKING:
    import pandas as pd

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NOTHING = "No Finding"
IMAGE, LABELS, PATIENT, VIEW = "Image Index", "Finding Labels", "Patient ID", "View Position"
TABLES = "Data_Entry_2017*.csv"
LISTS = {"train_val_list.txt": TRAIN, "test_list.txt": TEST}
LONGEST_LIST = 2**24
LONGEST_TEXT = 256
MOST_EXACT = 2**53
"""Whole numbers below it are exact in a column that was read as float64."""
VALIDATION_EVERY = 8


@register("dataset", "nih-cxr14-folder")
class NihCxr14Folder:
    """Your folder of NIH ChestX-ray14: PNG images anywhere below it, and its Data_Entry_2017 CSV.

    uint8 ``[n, size, size]``, targets ``[n, 14]``, split by patient. Images are made gray and
    resized to ``size`` × ``size`` by averaging while they are read: 112,120 of them at 128 pixels
    are 1.8 GB and take minutes. Of the table's images those are used that lie in the folder, so
    that a few of the archives are enough; ``patients`` keeps only so many, by ascending number.
    Where ``train_val_list.txt`` and ``test_list.txt`` lie beside the table their split is used,
    with every eighth patient number of the former for validation.

    Raises ConfigError without ``path``; DataError when the table or an image is missing, damaged
    or too large, a finding is unknown, a patient is no whole number, an image is described twice
    or lies in two folders, or has more than 8 bits a channel; MissingExtraError without Pillow.

    Source: Wang et al., ChestX-ray8, CVPR 2017

    Fidelity: own

    Tasks: multilabel-image

    Example:
        >>> NihCxr14Folder(path="ChestX-ray14", size=224).size
        224
    """

    card: ClassVar[Card] = Card(
        name="nih-cxr14-folder",
        title="Chest X-ray findings",
        kind=Kind.MULTILABEL_IMAGE,
        modality="X-ray",
        source="NIH Clinical Center, ChestX-ray14 (nihcc.app.box.com/v/ChestXray-NIHCC)",
        licence="free with acknowledgement (NIH Clinical Center)",
        size="up to 112,120 images of 30,805 patients at 1024 pixels, 14 findings",
        sites="none",
        expectation="labels were mined from reports; DenseNet-121, all images at 224 pixels, "
        "official split: macro AUROC about 0.8 in the literature",
        public=False,  # nobody can tell whether a folder holds what its table says
    )

    path: str | None = None
    size: Annotated[int, Field(ge=8, le=1024)] = 128
    patients: Annotated[int, Field(ge=1)] | None = None

    def load(self) -> Dataset:
        """Return the images and findings."""
        if self.path is None:
            raise ConfigError("say which folder", place="dataset.path", fix='path = "ChestX-ray14"')
        root = existing(self.path)
        if not root.is_dir():
            raise DataError("this is not a folder", place=str(root))
        return remembered(self, root, lambda: _read(self, root))


def _read(options: NihCxr14Folder, root: Path) -> Dataset:
    place = _table(root)
    table = read_csv(place)
    need_columns(table, (IMAGE, LABELS, PATIENT), place)
    _check_rows(table, place)
    table = table.assign(**{PATIENT: _numbers(table[PATIENT], place)})
    files = images_by_name(root, set(table[IMAGE]), {".png"})
    table = _kept(table[table[IMAGE].isin(files)], options.patients)
    if not len(table):
        raise DataError("the folder holds none of the table's images", place=str(place))
    names = [str(name) for name in table[IMAGE]]
    patients = table[PATIENT].to_numpy(np.int64)
    return Dataset(
        name="nih-cxr14-folder",
        kind=Kind.MULTILABEL_IMAGE,
        inputs=read_images([files[name] for name in names], options.size, root),
        targets=_targets(table[LABELS].astype(str).to_numpy(), place),
        classes=FINDINGS,
        groups=patients,
        split=_split(names, patients, place.parent),
        attributes={"view": table[VIEW].astype(str).to_numpy(str)} if VIEW in table else {},
    )


def _table(root: Path) -> Path:
    found = sorted(root.glob(TABLES))
    if not found:
        raise DataError(
            f"there is no {TABLES}", place=str(root), fix="it comes with the images from the NIH"
        )
    return found[-1]


def _check_rows(table: pd.DataFrame, place: Path) -> None:
    again = table[IMAGE].duplicated() & table[IMAGE].notna()
    refuse_rows("two rows describe the same image", again.to_numpy(), place)
    for name in (LABELS, VIEW):
        if name in table:
            long = table[name].astype(str).str.len() > LONGEST_TEXT
            words = f"'{name}' should hold at most {LONGEST_TEXT} characters"
            refuse_rows(words, long.to_numpy(), place)


def _numbers(patients: pd.Series[Any], place: Path) -> NDArray[np.int64]:
    import pandas as pd

    values = pd.to_numeric(patients.astype(str), errors="coerce").to_numpy()
    if values.dtype != np.int64:
        values = values.astype(np.float64)
        whole = (np.abs(values) < MOST_EXACT) & (values == np.rint(values))
        refuse_rows(f"'{PATIENT}' should hold whole numbers", ~whole, place)
    return np.asarray(values, np.int64)


def _kept(table: pd.DataFrame, patients: int | None) -> pd.DataFrame:
    if patients is None:
        return table
    first = np.sort(table[PATIENT].unique())[:patients]
    return table[table[PATIENT].isin(first)]


def _targets(labels: Array, place: Path) -> NDArray[np.uint8]:
    column = {finding: k for k, finding in enumerate(FINDINGS)}
    targets = np.zeros((len(labels), len(FINDINGS)), np.uint8)
    for row, text in enumerate(labels):
        for finding in set(text.split("|")) - {NOTHING}:
            if finding not in column:
                raise DataError(
                    f"unknown finding in row {row + 1} of the images that are there",
                    place=str(place),
                    fix=did_you_mean(finding, [*FINDINGS, NOTHING]),
                )
            targets[row, column[finding]] = 1
    return targets


def _split(names: list[str], patients: NDArray[np.int64], folder: Path) -> Array | None:
    """Return the official split where its lists are there, for every image that they name."""
    parts: dict[str, int] = {}
    for file, part in LISTS.items():
        if not (folder / file).is_file():
            return None
        parts |= dict.fromkeys(_lines(folder / file), part)
    split = np.array([_part(name, parts, folder) for name in names], np.uint8)
    split[(split == TRAIN) & (patients % VALIDATION_EVERY == 0)] = VALIDATION
    return split


def _part(name: str, parts: Mapping[str, int], folder: Path) -> int:
    if name not in parts:
        raise DataError(
            "the lists of the official split do not name an image of the folder",
            place=str(folder),
            fix=f"take {' and '.join(LISTS)} away to split by patient at random",
        )
    return parts[name]


def _lines(path: Path) -> list[str]:
    if path.stat().st_size > LONGEST_LIST:
        raise DataError("too large", place=str(path), got=f"over {LONGEST_LIST} bytes")
    return path.read_text(encoding="utf-8", errors="replace").split()
