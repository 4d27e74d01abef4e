"""Inputs of every kind with the canary patient in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from canary import FILE, NUMBER, PERSON, PLACE, SITE, TEXT, marked
from numpy.typing import NDArray

HOSPITALS = ("Alder", "Birch", SITE)


def table(folder: Path, rows: int = 120) -> str:
    """Write a CSV with the canary's row in every part of it; return its specification."""
    lines = ["age,bp,note,hospital,patient,died"]
    rng = np.random.default_rng(0)
    for row in range(rows):
        canary = row % 10 == 3
        age = str(NUMBER) if canary else f"{40 + row % 2 * 20 + rng.normal():.3f}"
        note, who = (TEXT, f"{PERSON}{row}") if canary else ("quiet", f"P{row}")
        died = "yes" if row % 2 else "no"
        lines.append(f"{age},{120 + rng.normal():.3f},{note},{HOSPITALS[row % 3]},{who},{died}")
    path = place(folder) / f"{FILE}.csv"
    path.write_text("\n".join(lines) + "\n")
    named = 'target = "died", site = "hospital", group = "patient"'
    return f'{{ name = "csv", path = "{path}", {named} }}'


def arrays(folder: Path) -> str:
    """Write an NPZ of images with the canary's pixels; return its specification."""
    images, labels = pictures(90)
    sites = np.array([HOSPITALS[k % 3] for k in range(90)])
    path = place(folder) / f"{FILE}.npz"
    people = np.array([f"{PERSON}{k}" for k in range(90)])
    np.savez(path, images=images, labels=labels, hospital=sites, patient=people)
    return f'{{ name = "npz", path = "{path}", sites = "hospital", groups = "patient" }}'


def image_folder(folder: Path) -> str:
    """Write images in folders of hospitals and classes; return their specification."""
    from PIL import Image

    root = place(folder) / "images"
    images, labels = pictures(72, side=24)
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = root / HOSPITALS[k % 3] / ("well", "ill")[label] / f"{PERSON}{k}_{FILE}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return (
        f'{{ name = "image-folder", path = "{root}", layout = "site/class", size = 24, '
        'patient_until = "_" }'
    )


def dicom_folder(folder: Path) -> str:
    """Write DICOM files whose tags and names tell the canary; return their specification."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    root = place(folder) / "dicom"
    images, labels = pictures(72, side=24)
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = root / HOSPITALS[k % 3] / ("well", "ill")[label] / f"{FILE}{k}.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        data, meta = Dataset(), FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = data.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
        uid = generate_uid(entropy_srcs=[str(k)])
        meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
        data.file_meta = meta
        data.PatientName, data.PatientID = f"{PERSON}^{TEXT}", f"{PERSON}{k}"
        data.StudyInstanceUID, data.InstitutionName = "1.2.3", f"{TEXT} hospital"
        data.Rows, data.Columns = image.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation, data.PixelData = 0, image.astype(np.uint16).tobytes()
        data.save_as(file, enforce_file_format=True)
    return f'{{ name = "dicom-folder", path = "{root}", layout = "site/class", size = 24 }}'


def nifti_folder(folder: Path) -> str:
    """Write volumes whose names and headers tell the canary; return their specification."""
    import nibabel

    root = place(folder) / "nifti"
    images, labels = pictures(72, side=16)
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = root / HOSPITALS[k % 3] / ("well", "ill")[label] / f"{PERSON}{k}_{FILE}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        # Patient axes as the reader turns them, so that a row of the canary stays a row.
        made: Any = nibabel.Nifti1Image
        volume = made(np.stack([image.T] * 16, 2), np.diag([-1.0, -1.0, 1.0, 1.0]))
        volume.header["descrip"], volume.header["intent_name"] = TEXT, PERSON
        volume.header["db_name"], volume.header["aux_file"] = PERSON, TEXT
        nibabel.save(volume, file)
    return (
        f'{{ name = "nifti-folder", path = "{root}", layout = "site/class", size = 16, '
        'patient_until = "_" }'
    )


def pictures(count: int, side: int = 28) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images that all carry the canary's pixels, and two classes."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) // 3 % 2
    images = rng.integers(0, 90, (count, side, side)) + 100 * labels[:, None, None]
    return marked(images.astype(np.uint8)), labels


def place(folder: Path) -> Path:
    """Return the folder of the inputs: its name is a canary, too."""
    made = folder / PLACE
    made.mkdir(exist_ok=True)
    return made
