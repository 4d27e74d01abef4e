"""A user's own MR and CT volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from asepsis.core.errors import ConfigError, DataError
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind
from asepsis.data.cards import Card
from asepsis.data.cubes import PLANES, Plane, Slices, cut, planes_of, positions
from asepsis.data.dataset import Dataset
from asepsis.data.files import existing, remembered
from asepsis.data.nifti import Scan, check_aligned, nibabel, read_scan, upright
from asepsis.data.npz import max_bytes
from asepsis.data.patient_folders import Folder, file_of, patient_folders, sites_of
from asepsis.data.resampling import box_of, side_of, to_cube

LEAST_SPAN = 100
"""Hounsfield units that a CT spans at least within a body."""
BODY = -500
"""Hounsfield units above which something is no air."""

Bound = Annotated[int, Field(ge=-32768, le=32767)]


@register("dataset", "nifti-pairs")
class NiftiPairs:
    """Your own MR and CT volumes in NIfTI, a folder a patient, as SynthRAD2023 has them.

    ``root/patient/`` (or ``root/site/patient/`` with ``layout``) holds ``mr.nii.gz``,
    ``ct.nii.gz`` on the same grid and, if you have it, ``mask.nii.gz``; without ``.gz`` is fine.
    ``sites`` names a CSV file with columns ``patient``, ``site`` instead of outer folders. Without
    a mask the body is the largest thing above -500 HU, its holes filled slice by slice.

    Each volume is turned upright, cropped to the mask's box, padded to a cube as long as the
    longest side in millimeters, and averaged over boxes to ``size``³. So its voxels have equal
    sides, longest side / ``size`` mm, another number for each patient: attribute ``spacing``.
    Inputs MR, uint8, each volume from its minimum to its maximum; targets CT, int16, clipped to
    the ``window`` in Hounsfield units, its lower end outside the mask; attribute ``mask``.
    ``slices = "all"`` takes all slices, by default of all three planes (whole volumes, for the
    median of planes); ``"middle"`` the middle one, by default of the axial ``plane``.

    Raises ConfigError without ``path``, for both ways to name sites, and for an empty window;
    DataError when volumes are missing, damaged, too large, not on one grid, hold values that are
    no numbers, lie outside the folder, or when the CT cannot be in Hounsfield units: patients are
    named by their place in alphabetical order; MissingExtraError without nibabel.

    Source: the user's; steps after Raggio et al., FedSynthCT-Brain, arXiv 2412.06690, without
    bias correction

    Fidelity: own

    Tasks: paired-image

    Example:
        >>> NiftiPairs(path="brain", sites="sites.csv").window
        (-1024, 3071)
    """

    card: ClassVar[Card] = Card(
        name="nifti-pairs",
        title="Your own MR and CT",
        kind=Kind.PAIRED_IMAGE,
        modality="MRI and CT",
        source="a folder of yours",
        licence="yours",
        size="up to 10,000 patients; 8 GiB of slices",
        sites="outer folders or a CSV file, if you say so",
        expectation="unknown",
        public=False,
    )
    files: ClassVar[tuple[str, ...]] = ("path", "sites")

    path: str | None = None
    layout: Literal["patient", "site/patient"] = "patient"
    sites: str | None = None
    size: Annotated[int, Field(ge=16, le=256)] = 128
    slices: Slices = "all"
    plane: Plane | None = None
    window: tuple[Bound, Bound] = (-1024, 3071)

    @property
    def planes(self) -> tuple[str, ...]:
        """The planes that are cut."""
        return planes_of(self.plane, self.slices)

    def load(self) -> Dataset:
        """Return the pairs in the folder."""
        self._check()
        nibabel()
        root = existing(str(self.path))
        if not root.is_dir():
            raise DataError("this is not a folder", place=str(root))
        folders = patient_folders(root, self.layout)
        sites = None if self.sites is None else sites_of(existing(self.sites), folders)
        named = None if sites is None else tuple(sites)
        return remembered((self, named), root, lambda: _read(self, folders, sites))

    def _check(self) -> None:
        if self.path is None:
            raise ConfigError("say which folder", place="dataset.path", fix='path = "brain"')
        if self.sites is not None and self.layout != "patient":
            raise ConfigError(
                "sites are named twice",
                place="dataset.sites",
                fix='leave it out, or set layout = "patient"',
            )
        if self.window[0] + LEAST_SPAN > self.window[1]:
            raise ConfigError(
                f"a window is {LEAST_SPAN} units wide at least",
                place="dataset.window",
                got=self.window,
            )


class _Cubes(NamedTuple):
    """One patient's MR, CT and mask, ``[size, size, size]`` each, and millimeters a voxel."""

    mr: Array
    ct: Array
    mask: Array
    spacing: float


def _read(options: NiftiPairs, folders: list[Folder], sites: Array | None) -> Dataset:
    where = positions(options.slices, options.size)
    each = len(options.planes) * len(where)
    shape = (len(folders) * each, options.size, options.size)
    if int(np.prod(shape)) * 4 > max_bytes():
        raise DataError("too many pixels to hold", place="dataset", fix="use a smaller size")
    made: list[Array] = [np.empty(shape, dtype) for dtype in (np.uint8, np.int16, bool)]
    spacing = np.empty(len(folders), np.float32)
    for number, folder in enumerate(folders):
        cubes = _cubes(options, folder)
        spacing[number] = cubes.spacing
        for array, cube in zip(made, cubes[:3], strict=True):
            array[number * each : (number + 1) * each] = cut(cube, options.planes, where)
    if options.layout == "site/patient":
        sites = np.array([folder.site for folder in folders])
    return Dataset(
        name="nifti-pairs",
        kind=Kind.PAIRED_IMAGE,
        inputs=made[0],
        targets=made[1],
        classes=(),
        groups=np.repeat(np.arange(len(folders)), each),
        sites=None if sites is None else sites.repeat(each),
        attributes=_facts(options, made[2], spacing, each),
        unit="HU",
        window=(float(options.window[0]), float(options.window[1])),
        volume=options.size if options.slices == "all" and options.planes == PLANES else None,
    )


def _facts(options: NiftiPairs, mask: Array, spacing: Array, each: int) -> Mapping[str, Array]:
    turns = np.repeat(options.planes, each // len(options.planes))
    return {
        "mask": mask,
        "plane": np.tile(turns, len(spacing)),
        "spacing": spacing.repeat(each),
    }


def _cubes(options: NiftiPairs, folder: Folder) -> _Cubes:
    (mr, spacing), (ct, _), mask = _volumes(folder)
    low, high = options.window
    box = box_of(mask)
    ct, mask = np.clip(ct[box], low, high), mask[box]
    inside = ct[mask]
    if inside.max() - inside.min() < LEAST_SPAN:
        raise DataError("the CT cannot be in Hounsfield units", place=folder.place)
    ct = to_cube(np.where(mask, ct, low), spacing, options.size, fill=low)
    body = to_cube(mask, spacing, options.size, fill=0) > 0.5
    return _Cubes(
        mr=_gray(to_cube(mr[box], spacing, options.size, fill=float(mr[box].min())), folder),
        ct=np.where(body, np.clip(np.rint(ct), low, high), low).astype(np.int16),
        mask=body,
        spacing=side_of(mask.shape, spacing) / options.size,
    )


def _volumes(folder: Folder) -> tuple[tuple[Array, Array], tuple[Array, Array], Array]:
    """Return MR and CT, upright with their spacing, and the mask."""
    scans: dict[str, Scan] = {}
    for name in ("mr", "ct", "mask"):
        file = file_of(folder, name)
        if file is not None:
            scans[name] = read_scan(file, f"{folder.place}, {name}")
            check_aligned(scans["mr"], scans[name], folder.place)
    ct = upright(scans["ct"])
    mask = upright(scans["mask"])[0] > 0 if "mask" in scans else body_of(ct[0])
    if not mask.any():
        raise DataError("there is no body in it", place=folder.place, fix="check ct and mask")
    return upright(scans["mr"]), ct, mask


def body_of(ct: Array) -> Array:
    """Return the largest connected thing that is no air, holes filled slice by slice."""
    from scipy import ndimage

    pieces, count = ndimage.label(ct > BODY)
    if count == 0:
        return np.zeros(ct.shape, bool)
    sizes = np.bincount(pieces.ravel())
    largest = pieces == sizes[1:].argmax() + 1
    return np.stack([ndimage.binary_fill_holes(layer) for layer in largest])


def _gray(mr: Array, folder: Folder) -> Array:
    low, high = mr.min(), mr.max()
    if low == high:
        raise DataError("the MR is the same everywhere", place=folder.place)
    return np.asarray(np.rint((mr - low) * (255 / (high - low))), np.uint8)
