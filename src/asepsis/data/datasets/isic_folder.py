"""Skin lesions from the ISIC archive and its challenges as their users have them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asepsis.core.errors import ConfigError, DataError
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind
from asepsis.data.cards import Card
from asepsis.data.dataset import Dataset
from asepsis.data.files import existing, remembered
from asepsis.data.images import images_by_name, read_images
from asepsis.data.isic import (
    DIAGNOSES,
    FACTS,
    IMAGE_COLUMNS,
    ONE_HOT,
    OWNERS,
    SITE,
    Table,
    diagnoses,
    owners,
    read_table,
)
from asepsis.data.tables import read_header

PICTURES = frozenset({".jpg", ".jpeg", ".png"})


@register("dataset", "isic-folder")
class IsicFolder:
    """Your folder of ISIC images, JPEG or PNG anywhere below it, and the CSV that came with them.

    uint8 ``[n, size, size, 3]``: the square in the middle of every image, resized by averaging
    while it is read. ``labels`` is the CSV with the diagnoses, by its name below the folder; when
    left out, the one CSV at its top that has any. They are the one-hot columns of a challenge
    (``MEL``, ``NV``, ... of 2018 and 2019), or the column ``target``, by default ``diagnosis``,
    ``dx`` or ``benign_malignant``; only classes that occur are kept.

    Images of one patient or one lesion (``patient_id``, ``lesion_id``) are never split; an image
    that names neither stands alone. ``metadata`` is another CSV that tells them; when left out,
    those at the top of the folder that tell what ``labels`` does not. ``site`` is the column for
    ``partition = "site"`` in any of them, by default ``attribution`` where every image has one.
    ``partial`` is for a folder that lacks some of the table's images. ``limit`` keeps so many
    images, evenly over their names.

    Raises ConfigError without ``path``; DataError, with file and line, when a table or an image is
    missing, damaged or too large, an image is described twice or lies in two folders, or a row has
    no diagnosis or several; MissingExtraError without Pillow.

    Source: Codella et al., Skin Lesion Analysis Toward Melanoma Detection 2018, arXiv 1902.03368;
    Combalia et al., BCN20000, arXiv 1908.02288 (layout of the files)

    Fidelity: own

    Tasks: image

    Example:
        >>> IsicFolder(path="ISIC2019", labels="ISIC_2019_Training_GroundTruth.csv").size
        64
    """

    card: ClassVar[Card] = Card(
        name="isic-folder",
        title="Skin lesions of ISIC",
        kind=Kind.IMAGE,
        modality="dermatoscopy, color",
        source="ISIC archive (isic-archive.com) and challenges (challenge.isic-archive.com)",
        licence="CC BY-NC 4.0, CC BY or CC 0, image by image",
        size="10,015 images in 2018, 25,331 in 2019, 33,126 in 2020",
        sites="attribution, or a column that you name",
        expectation="most are moles (NV): use balanced accuracy or macro-F1; known lesions are "
        "photographed several times",
        public=False,  # nobody can tell whether a folder holds what its table says
    )
    files: ClassVar[tuple[str, ...]] = ("path", "labels", "metadata")

    path: str | None = None
    labels: str | None = None
    target: str | None = None
    metadata: str | None = None
    site: str | None = None
    size: Annotated[int, Field(ge=8, le=1024)] = 64
    limit: Annotated[int, Field(ge=2)] | None = None
    partial: bool = False

    def load(self) -> Dataset:
        """Return the images and diagnoses."""
        if self.path is None:
            raise ConfigError("say which folder", place="dataset.path", fix='path = "ISIC2019"')
        root = existing(self.path)
        if not root.is_dir():
            raise DataError("this is not a folder", place=str(root))
        return remembered(self, root, lambda: _read(self, root))


def _read(options: IsicFolder, root: Path) -> Dataset:
    asked = _labels(options, root)
    files = images_by_name(root, set(asked.names), PICTURES, lambda file: file.stem)
    labels = asked.take(_kept(options, asked, files))
    tables = [labels, *_metadata(options, root, labels)]
    targets, classes = diagnoses(labels, options.target)
    return Dataset(
        name="isic-folder",
        kind=Kind.IMAGE,
        inputs=read_images(
            [files[name] for name in labels.names],
            options.size,
            root,
            color=True,
            center=True,
            draft=True,
        ),
        targets=targets,
        classes=classes,
        groups=owners(tables),
        sites=_sites(options, tables),
        attributes=_facts(tables),
    )


def _kept(options: IsicFolder, table: Table, files: dict[str, Path]) -> NDArray[np.int64]:
    """Return the rows whose images are used."""
    missing = np.array([name not in files for name in table.names])
    if not options.partial:
        fix = "get it, or set partial = true to use those that are there"
        table.refuse("this image is not in the folder", missing, fix)
    rows = np.flatnonzero(~missing)
    if not len(rows):
        raise DataError("the folder holds none of the table's images", place=str(table.place))
    if options.limit is None or options.limit >= len(rows):
        return rows
    by_name = rows[np.argsort(np.array(table.names)[rows], kind="stable")]
    return np.sort(by_name[np.arange(options.limit) * len(rows) // options.limit])


def _labels(options: IsicFolder, root: Path) -> Table:
    if options.labels is not None:
        return read_table(_inside(root, options.labels, "labels"))
    wanted = (options.target,) if options.target else (*ONE_HOT, *DIAGNOSES)
    found = _telling(root, wanted)
    if len(found) == 1:
        return read_table(found[0])
    raise DataError(
        "which CSV holds the diagnoses?" if found else "no CSV at its top holds diagnoses",
        place=str(root),
        got=", ".join(file.name for file in found) or None,
        fix="name it with the option 'labels'",
    )


def _metadata(options: IsicFolder, root: Path, labels: Table) -> list[Table]:
    """Return the tables of patients, lesions and sites, where they are other ones."""
    if options.metadata is not None:
        found = [_inside(root, options.metadata, "metadata")]
    else:
        others = [_only(root, name) for name in OWNERS if not labels.has(name)]
        found = sorted({file for file in others if file is not None})
    return [read_table(file).beside(labels) for file in found]


def _only(root: Path, owner: str) -> Path | None:
    """Return the one CSV at the top of the folder that tells patients, or lesions."""
    found = _telling(root, (owner,))
    if len(found) > 1:
        raise DataError(
            "which CSV tells patients and lesions?",
            place=str(root),
            got=", ".join(file.name for file in found),
            fix="name it with the option 'metadata'",
        )
    return found[0] if found else None


def _telling(root: Path, wanted: tuple[str, ...]) -> list[Path]:
    """Return the CSV files at the top of a folder that name images and tell any of these."""
    headers = {file: set(read_header(file)) for file in sorted(root.glob("*.csv"))}
    return [
        file
        for file, columns in headers.items()
        if columns.intersection(IMAGE_COLUMNS) and columns.intersection(wanted)
    ]


def _inside(root: Path, name: str, option: str) -> Path:
    place = root / name
    if not place.resolve().is_relative_to(root.resolve()):
        raise DataError(
            "the CSV lies outside the folder",
            place=f"dataset.{option}",
            got=name,
            fix="put it into the folder of images",
        )
    if not place.is_file():
        raise DataError("there is no such file", place=f"dataset.{option}", got=name)
    return place


def _sites(options: IsicFolder, tables: list[Table]) -> Array | None:
    """Return the sites: those asked for, else those that happen to be told of every image."""
    if options.site is not None:
        named = next((table for table in tables if table.has(options.site)), tables[0])
        return named.texts(options.site)
    for table in tables:
        if table.has(SITE):
            values, known = table.optional(SITE)
            if known.all():
                return values
    return None


def _facts(tables: list[Table]) -> dict[str, Array]:
    """Return what is known of the patients, "" where it is not."""
    return {name: table.optional(name)[0] for table in tables for name in FACTS if table.has(name)}
