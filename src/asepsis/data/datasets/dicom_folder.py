"""A user's own folder of DICOM images."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from asepsis.core.errors import ConfigError, DataError, MissingExtraError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.class_folders import classes_of, files_in, root_of
from asepsis.data.coding import codes
from asepsis.data.dataset import Dataset
from asepsis.data.dicom import Picture, grays, pydicom, read_dicom
from asepsis.data.files import existing, remembered
from asepsis.data.images import MOST_FILES
from asepsis.data.npz import max_bytes
from asepsis.data.tables import need_columns, read_csv, read_header

ENDINGS = frozenset({".dcm", ".dicom", ""})
UID, NAME = "SOPInstanceUID", "file"
MOST_CLASSES = 100


@register("dataset", "dicom-folder")
class DicomFolder:
    """Your own folder of DICOM images, one gray image a file, as ``site/class/*.dcm``.

    ``layout``: ``class`` or ``site/class``, the folders' names; or ``site`` or ``files`` (in the
    folder itself) with ``labels``, a CSV file with a column ``file`` (names, or paths below the
    folder) or ``SOPInstanceUID``, and the column ``target``.

    Rescale slope and intercept are applied; the ``window``, from 0 to 255, is yours, else the
    file's, else from an image's darkest to its brightest value. MONOCHROME1 is inverted. Resized
    to ``size`` × ``size`` by averaging. The patient is the tag ``patient`` (with ``file`` every
    file its own), taken within its site; only numbers are kept of it. Files are at most 512 MiB
    and 100 million pixels; compressed ones need a decoder that pydicom finds. Messages hold no
    tag's value: files are told by their place in sorted order.

    Raises ConfigError when options contradict each other; DataError when files are missing,
    damaged, too large, in color, of several frames, or lack a tag or a label; MissingExtraError
    without pydicom or Pillow.

    Source: the user's; DICOM PS3.3, C.11.1 (rescale) and C.11.2.1.2 (windows)

    Fidelity: own

    Tasks: image

    Example:
        >>> DicomFolder(path="ct", layout="site/class", window=(-1000.0, 400.0)).size
        64
    """

    card: ClassVar[Card] = Card(
        name="dicom-folder",
        title="Your own DICOM images",
        kind=Kind.IMAGE,
        modality="any",
        source="a folder of yours",
        licence="yours",
        size="up to 500,000 files",
        sites="the outer folders, if you say so",
        expectation="unknown",
        public=False,
    )
    files: ClassVar[tuple[str, ...]] = ("path", "labels")

    path: str | None = None
    layout: Literal["class", "site/class", "site", "files"] = "class"
    labels: str | None = None
    target: str = "label"
    size: Annotated[int, Field(ge=8, le=1024)] = 64
    window: tuple[float, float] | None = None
    patient: Literal["PatientID", "StudyInstanceUID", "file"] = "PatientID"

    def load(self) -> Dataset:
        """Return the images in the folder."""
        root = root_of(self.path, "ct")
        self._check()
        pydicom()
        if find_spec("PIL") is None:
            raise MissingExtraError("pillow", "medical")
        table = None if self.labels is None else existing(self.labels)
        stamp = None if table is None else (table.stat().st_mtime_ns, table.stat().st_size)
        return remembered((self, stamp), root, lambda: _read(self, root, table))

    def _check(self) -> None:
        if (self.labels is None) == (self.layout in ("site", "files")):
            raise ConfigError(
                "labels are the folders' names, or stand in a table: one of the two",
                place="dataset.labels",
                got=self.labels,
                fix='layout = "class", "site/class"; or labels = "labels.csv" with "site", "files"',
            )
        if self.window is not None and self.window[0] >= self.window[1]:
            raise ConfigError(
                "a window goes from low to high", place="dataset.window", got=self.window
            )


def _read(options: DicomFolder, root: Path, table: Path | None) -> Dataset:
    files = files_in(root, options.layout, _wanted, "DICOM files", MOST_FILES)
    if len(files) * options.size**2 > max_bytes():
        raise DataError("too many pixels to hold", place=str(root), fix="use a smaller size")
    known = None if table is None else _Labels(table, options.target, root)
    sites = [file.relative_to(root).parts[0] if "site" in options.layout else "" for file in files]
    inputs = np.empty((len(files), options.size, options.size), np.uint8)
    labels, patients = [], []
    for number, file in enumerate(files):
        place = f"dataset.path, file {number + 1} of {len(files)} in sorted order"
        picture = read_dicom(file, place)
        inputs[number] = grays(picture, options.window, options.size)
        labels.append(file.parent.name if known is None else known.of(file, picture, place))
        patients.append(_patient(options.patient, sites[number], picture, number, place))
    classes, targets = classes_of(labels, str(root))
    if len(classes) > MOST_CLASSES:
        raise DataError(f"over {MOST_CLASSES} classes", place=str(root), got=len(classes))
    return Dataset(
        name="dicom-folder",
        kind=Kind.IMAGE,
        inputs=inputs,
        targets=targets,
        classes=classes,
        groups=codes(np.array(patients)),
        sites=np.array(sites) if "site" in options.layout else None,
    )


def _wanted(file: Path) -> bool:
    return file.suffix.lower() in ENDINGS and file.name != "DICOMDIR"


def _patient(tag: str, site: str, picture: Picture, number: int, place: str) -> str:
    """Return a patient's code: a hash, so that not even the order of identifiers is left."""
    if tag == "file":
        return f"{number:09d}"
    if tag not in picture.identifiers:
        raise DataError(
            f"tag {tag} is missing",
            place=place,
            fix='set patient = "StudyInstanceUID", or "file" where every file is another patient',
        )
    text = f"{site}\0{picture.identifiers[tag]}"
    return hashlib.sha256(text.encode()).hexdigest()


class _Labels:
    """The label of every file by a table: by name, by path below the root, or by its UID."""

    def __init__(self, table: Path, target: str, root: Path) -> None:
        columns = read_header(table)
        self._key = UID if UID in columns else NAME
        rows = read_csv(table, as_text=True)
        need_columns(rows, (self._key, target), table)
        keys, labels = rows[self._key], rows[target]
        for words, wrong in (
            (f"a {self._key} and a {target} are needed in every row", keys.isna() | labels.isna()),
            (f"a {self._key} has two rows", keys.duplicated()),
        ):
            if wrong.any():
                line = int(np.flatnonzero(wrong.to_numpy())[0]) + 2
                raise DataError(words, place="dataset.labels", got=f"line {line} first")
        self._labels = dict(zip(keys.tolist(), labels.tolist(), strict=True))
        self._root = root
        self._names: set[str] = set()

    def of(self, file: Path, picture: Picture, place: str) -> str:
        """Return a file's label.

        Raises:
            DataError: it has none, or shares its name with another file.
        """
        path = file.relative_to(self._root).as_posix()
        found = (picture.identifiers.get(UID, ""),) if self._key == UID else (path, file.name)
        for key in found:
            if key in self._labels:
                if key in self._names:
                    raise DataError(
                        f"two files have the same {self._key}",
                        place=place,
                        fix="write paths below the folder in the table",
                    )
                self._names.add(key)
                return str(self._labels[key])
        raise DataError("this file is not in the table of labels", place=place)
