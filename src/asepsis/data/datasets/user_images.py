"""A user's own folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from asepsis.core.errors import ConfigError, DataError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.coding import codes, texts
from asepsis.data.dataset import Dataset
from asepsis.data.files import existing, remembered
from asepsis.data.images import ENDINGS, MOST_FILES, read_images


@register("dataset", "image-folder")
class ImageFolder:
    """Your own folder of images, one folder a class, with hospitals outermost if you like.

    ``root/class/*.png``, or ``root/site/class/*.png``.

    PNG, JPEG, BMP or TIFF, made gray (or RGB with ``color``) and resized to ``size`` × ``size``.
    ``layout = "site/class"`` reads the outer folders as hospitals. With ``patient_until = "_"``
    the patient is the file name up to the first ``_``. Images of over 100 million pixels are
    refused before they are unpacked. Needs Pillow.

    Raises DataError when a folder or image is missing, damaged or too large, MissingExtraError
    without Pillow.

    Source: the user's; no paper

    Fidelity: own

    Tasks: image

    Example:
        >>> ImageFolder(path="xrays", layout="site/class").size
        64
    """

    card: ClassVar[Card] = Card(
        name="image-folder",
        title="Your own images",
        kind=Kind.IMAGE,
        modality="any",
        source="a folder of yours",
        licence="yours",
        size="up to 500,000 files",
        sites="the outer folders, if you say so",
        expectation="unknown",
        public=False,
    )

    path: str | None = None
    layout: Literal["class", "site/class"] = "class"
    size: Annotated[int, Field(ge=8, le=1024)] = 64
    color: bool = False
    patient_until: Annotated[str, Field(min_length=1)] | None = None

    def load(self) -> Dataset:
        """Return the images in the folder."""
        if self.path is None:
            raise ConfigError("say which folder", place="dataset.path", fix='path = "xrays"')
        root = existing(self.path)
        if not root.is_dir():
            raise DataError("this is not a folder", place=str(root))
        return remembered(self, root, lambda: _read(self, root))


def _read(options: ImageFolder, root: Path) -> Dataset:
    files = _files(options, root)
    labels = [file.parent.name for file in files]
    classes, targets = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError("two classes are needed at least", place=str(root), got=len(classes))
    groups = np.empty(0, np.int64)
    sites = None
    if options.layout == "site/class":
        sites = np.array([file.parent.parent.name for file in files])
    if options.patient_until is not None:
        patients = [file.name.split(options.patient_until)[0] for file in files]
        groups = codes(np.array(patients))
    return Dataset(
        name="image-folder",
        kind=Kind.IMAGE,
        inputs=read_images(files, options.size, root, color=options.color),
        targets=targets,
        classes=texts(classes),
        groups=groups,
        sites=sites,
    )


def _files(options: ImageFolder, root: Path) -> list[Path]:
    pattern = "*/*" if options.layout == "class" else "*/*/*"
    found = [file for file in root.glob(pattern) if file.suffix.lower() in ENDINGS]
    if not found or len(found) > MOST_FILES:
        raise DataError(
            f"there should be 1 to {MOST_FILES} images in folders {options.layout}",
            place=str(root),
            got=f"{len(found)} images",
            fix='one folder a class; set layout = "site/class" where hospitals are outermost',
        )
    return sorted(found)
