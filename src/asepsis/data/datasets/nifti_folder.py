"""A user's own folder of volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asepsis.core.errors import ConfigError, DataError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.class_folders import classes_of, files_in, root_of
from asepsis.data.coding import codes
from asepsis.data.dataset import Dataset
from asepsis.data.files import remembered
from asepsis.data.nifti import nibabel, read_scan, upright
from asepsis.data.npz import max_bytes
from asepsis.data.resampling import to_cube

ENDINGS = (".nii", ".nii.gz")
MOST_VOLUMES = 100_000


@register("dataset", "nifti-folder")
class NiftiFolder:
    """Your own NIfTI volumes, one folder a class, with hospitals outermost if you like.

    ``root/class/*.nii.gz``, or ``root/site/class/*.nii.gz`` with ``layout``; without ``.gz`` is
    fine. One volume a file and, unless ``patient_until`` says which part of a file's name is the
    patient (``"_"``: up to the first), one patient a file; names count within their site.

    Each volume is turned upright, padded to a cube as long as its longest side in millimeters, and
    averaged over boxes to ``size``³: uint8 ``[n, size, size, size]``. The ``window``, from 0 to
    255, is yours (Hounsfield units, say), else from a volume's least to its greatest value.

    Raises ConfigError for an empty window; DataError when volumes are missing, damaged, too large,
    or there is one class only: files are told by their place in sorted order; MissingExtraError
    without nibabel.

    Source: the user's; no paper

    Fidelity: own

    Tasks: volume

    Example:
        >>> NiftiFolder(path="mri", layout="site/class").size
        28
    """

    card: ClassVar[Card] = Card(
        name="nifti-folder",
        title="Your own volumes",
        kind=Kind.VOLUME,
        modality="any",
        source="a folder of yours",
        licence="yours",
        size="up to 100,000 volumes; 8 GiB once resized",
        sites="the outer folders, if you say so",
        expectation="unknown",
        public=False,
    )

    path: str | None = None
    layout: Literal["class", "site/class"] = "class"
    size: Annotated[int, Field(ge=8, le=256)] = 28
    window: tuple[float, float] | None = None
    patient_until: Annotated[str, Field(min_length=1)] | None = None

    def load(self) -> Dataset:
        """Return the volumes in the folder."""
        root = root_of(self.path, "mri")
        if self.window is not None and self.window[0] >= self.window[1]:
            raise ConfigError(
                "a window goes from low to high", place="dataset.window", got=self.window
            )
        nibabel()
        return remembered(self, root, lambda: _read(self, root))


def _read(options: NiftiFolder, root: Path) -> Dataset:
    files = files_in(root, options.layout, _wanted, "NIfTI files", MOST_VOLUMES)
    if len(files) * options.size**3 > max_bytes():
        raise DataError("too many voxels to hold", place=str(root), fix="use a smaller size")
    classes, targets = classes_of([file.parent.name for file in files], str(root))
    inputs = np.empty((len(files), *[options.size] * 3), np.uint8)
    for number, file in enumerate(files):
        place = f"dataset.path, file {number + 1} of {len(files)} in sorted order"
        inputs[number] = _cube(options, file, place)
    outer = [file.relative_to(root).parts[0] for file in files]
    sites = np.array(outer) if options.layout == "site/class" else None
    patients = [str(number) for number in range(len(files))]
    if options.patient_until is not None:
        names = [file.name.split(options.patient_until)[0] for file in files]
        patients = (
            names if sites is None else [f"{s}/{n}" for s, n in zip(outer, names, strict=True)]
        )
    return Dataset(
        name="nifti-folder",
        kind=Kind.VOLUME,
        inputs=inputs,
        targets=targets,
        classes=classes,
        groups=codes(np.array(patients)),
        sites=sites,
    )


def _wanted(file: Path) -> bool:
    return file.name.lower().endswith(ENDINGS)


def _cube(options: NiftiFolder, file: Path, place: str) -> NDArray[np.uint8]:
    values, spacing = upright(read_scan(file, place))
    low, high = options.window or (float(values.min()), float(values.max()))
    if low == high:
        raise DataError("the volume is the same everywhere", place=place)
    shown = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    return np.asarray(np.rint(to_cube(shown, spacing, options.size, fill=0.0) * 255), np.uint8)
