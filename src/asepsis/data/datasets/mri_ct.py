"""Pairs of MR and CT slices of the same brain, from three centers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from asepsis.core.errors import DataError
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind
from asepsis.data.cards import Card
from asepsis.data.coding import codes
from asepsis.data.cubes import Plane, planes_of
from asepsis.data.dataset import Dataset
from asepsis.data.files import Source, locate, remembered
from asepsis.data.npz import read_npz

SOURCE = Source(
    layout="mri_ct/synthrad2023_brain_midslices_128.npz",
    how="get SynthRAD2023 task 1 brain (doi:10.5281/zenodo.7260705), save an .npz with arrays "
    "mri_axial, ct_axial, mask_axial uint8 [n, h, w] (coronal and sagittal alike), patient, "
    "centre, and name it with the option 'path'",
)


@register("dataset", "mri-ct")
class MriCt:
    """MR and CT of the same brain slice, 180 patients of three real centers (SynthRAD2023).

    Inputs MR and targets CT, both uint8 ``[180, 128, 128]``, the middle slice in one ``plane``;
    attribute ``mask`` is the body. ``plane = "all"`` takes all three, axial, coronal, sagittal of
    each patient in turn: 540 pairs, three a patient, no volumes. 8 bits, each slice scaled from
    its minimum to its maximum: no Hounsfield units, so errors are in normalized units.

    Raises DataError when the file cannot be had or is damaged.

    Source: Thummerer et al., SynthRAD2023 Grand Challenge Dataset, Medical Physics 2023

    Fidelity: own

    Tasks: paired-image

    Example:
        >>> MriCt(plane="coronal").plane
        'coronal'
    """

    card: ClassVar[Card] = Card(
        name="mri-ct",
        title="MR to CT, brain",
        kind=Kind.PAIRED_IMAGE,
        modality="MRI and CT",
        source="SynthRAD2023 task 1, Zenodo 7260705",
        licence="CC BY-NC 4.0",
        size="180 patients, middle slices in 3 planes at 128 pixels",
        sites="3 real centers A, B, C of 60 patients",
        expectation="small U-Net at 64 pixels: masked MAE 0.052 (mean image 0.081), "
        "PSNR 21.3 dB (18.0)",
    )

    path: str | None = None
    plane: Plane = "axial"

    def source(self) -> Source:
        """Return where the file is found."""
        return SOURCE

    def load(self) -> Dataset:
        """Return the pairs."""
        place = locate(SOURCE, self.path)
        return remembered(self, place, lambda: _read(place, self.plane))


def _read(place: Path, plane: Plane) -> Dataset:
    planes = planes_of(plane)
    names = [f"{what}_{one}" for what in ("mri", "ct", "mask") for one in planes]
    found = read_npz(place, (*names, "patient", "centre"))
    mri, ct, mask = (
        _in_turn([found[f"{what}_{one}"] for one in planes]) for what in ("mri", "ct", "mask")
    )
    sites = np.char.add("center-", found["centre"])
    return Dataset(
        name="mri-ct",
        kind=Kind.PAIRED_IMAGE,
        inputs=mri,
        targets=ct,
        classes=(),
        groups=codes(found["patient"]).repeat(len(planes)),
        sites=sites.repeat(len(planes)),
        attributes={"mask": mask > 0, "plane": np.tile(planes, len(sites))},
    )


def _in_turn(planes: list[Array]) -> Array:
    """Return the slices of every patient one after another."""
    if any(slices.shape != planes[0].shape for slices in planes):
        raise DataError("planes differ in shape", place="mri-ct", got=[p.shape for p in planes])
    return np.stack(planes, axis=1).reshape(-1, *planes[0].shape[1:])
