"""Folders of patients: found, kept within their root, and named in messages by number only.

A patient's folder is an identifier, and messages end up in records: they count folders in
alphabetical order instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from asepsis.core.errors import DataError
from asepsis.core.samples import Array
from asepsis.data.tables import need_columns, read_csv

Layout = Literal["patient", "site/patient"]
ENDINGS = (".nii.gz", ".nii")
MOST_PATIENTS = 10_000


@dataclass(frozen=True)
class Folder:
    """One patient's folder below ``root``; ``place`` is what messages call it."""

    path: Path
    root: Path
    place: str

    @property
    def site(self) -> str:
        """The folder around it."""
        return self.path.parent.name


def patient_folders(root: Path, layout: Layout) -> list[Folder]:
    """Return the folders that hold a pair, sorted; folders without any volume are passed over.

    Raises:
        DataError: there is none, there are too many, or one has only half a pair.
    """
    pattern = "*" if layout == "patient" else "*/*"
    paths = [path for path in sorted(root.glob(pattern)) if _has(path, "mr") or _has(path, "ct")]
    if not paths or len(paths) > MOST_PATIENTS:
        raise DataError(
            f"there should be 1 to {MOST_PATIENTS} folders {layout} with mr.nii.gz and ct.nii.gz",
            place="dataset.path",
            got=f"{len(paths)} folders",
            fix='one folder a patient; set layout = "site/patient" where hospitals are outermost',
        )
    folders = [
        Folder(path, root, f"dataset.path, folder {k} of {len(paths)} in alphabetical order")
        for k, path in enumerate(paths, start=1)
    ]
    for folder in folders:
        for name in ("mr", "ct"):
            if not _has(folder.path, name):
                raise DataError(f"there is no {name}.nii.gz", place=folder.place)
    return folders


def _has(path: Path, name: str) -> bool:
    return any((path / (name + ending)).exists() for ending in ENDINGS)


def file_of(folder: Folder, name: str) -> Path | None:
    """Return a patient's volume, ``None`` where there is none.

    Raises:
        DataError: it is no plain file, or a link that leads out of the root.
    """
    for ending in ENDINGS:
        file = folder.path / (name + ending)
        if file.exists():
            if not file.is_file():
                raise DataError(f"{name} is not a file", place=folder.place)
            if not file.resolve().is_relative_to(folder.root.resolve()):
                raise DataError(
                    f"{name} is a link that leads out of the folder",
                    place=folder.place,
                    fix="copy the file into it",
                )
            return file
    return None


def sites_of(table: Path, folders: list[Folder]) -> Array:
    """Return each folder's site by a CSV file with columns ``patient`` and ``site``.

    Raises:
        DataError: no such table, a patient twice or without a site, or a folder not in it.
    """
    rows = read_csv(table, as_text=True)
    need_columns(rows, ("patient", "site"), table)
    for words, wrong in (
        (
            "a patient and a site are needed in every row",
            rows[["patient", "site"]].isna().any(axis=1),
        ),
        ("a patient has two rows", rows["patient"].duplicated()),
    ):
        if wrong.any():
            line = int(np.flatnonzero(wrong)[0]) + 2
            raise DataError(words, place="dataset.sites", got=f"line {line} first")
    known = dict(zip(rows["patient"], rows["site"], strict=True))
    missing = [folder.place for folder in folders if folder.path.name not in known]
    if missing:
        raise DataError(
            f"{len(missing)} folders are not in the table",
            place="dataset.sites",
            got=f"{missing[0]} first",
        )
    return np.array([str(known[folder.path.name]) for folder in folders])
