"""Read DICOM images from strangers: sizes bounded by the header before pixels are unpacked.

No message holds a value of a tag, and no file's name: both may be a patient's. Which tag is
missing is said.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asepsis.core.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

MOST_BYTES = 2**29
MOST_PIXELS = 100_000_000
MOST_VALUE = 1e9
SLACK = 2**20
"""Bytes that compressed pixels may take beyond twice those of plain ones."""
DEFLATED = "1.2.840.10008.1.2.1.99"
GRAYS = ("MONOCHROME1", "MONOCHROME2")
IDENTIFIERS = ("SOPInstanceUID", "PatientID", "StudyInstanceUID")
Window = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Picture:
    """One image: float32 ``[h, w]`` in the file's own unit, dark as it should be shown dark.

    ``window`` is what of it is to be shown, by the file; ``identifiers`` hold only what the file
    has, and must not be kept.
    """

    values: NDArray[np.float32]
    window: Window | None
    inverted: bool
    identifiers: dict[str, str]


def pydicom() -> ModuleType:
    """Return the package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pydicom as package
        import pydicom.pixels
    except ImportError:
        raise MissingExtraError("pydicom", "medical") from None
    return package


def read_dicom(file: Path, place: str) -> Picture:
    """Return the image in a DICOM file; ``place`` is what messages call it.

    Raises:
        DataError: damaged, too large, not one gray image, or compressed with no decoder here.
        MissingExtraError: pydicom is not installed.
    """
    package = pydicom()
    if not file.is_file():  # a pipe would be waited for, forever
        raise DataError("not a plain file", place=place)
    if file.stat().st_size > MOST_BYTES:
        raise DataError(f"over {MOST_BYTES} bytes", place=place)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings repeat what stands in the tags
        try:
            _check_meta(package, file, place)
            data = package.dcmread(file)
            _check_header(data, place)
            return _picture(package, data, place)
        except DataError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever a damaged file makes of pydicom)
            words = f"damaged or not a DICOM file ({type(error).__name__})"
            raise DataError(words, place=place) from None


def _check_meta(package: ModuleType, file: Path, place: str) -> None:
    syntax = package.filereader.read_file_meta_info(file).get("TransferSyntaxUID")
    if syntax is None:
        raise DataError("tag TransferSyntaxUID is missing", place=place)
    if syntax == DEFLATED:  # pydicom would unpack all of it, however much it is
        raise DataError("deflated files are not read", place=place, fix=_decompress())
    if syntax.is_compressed and not _decodable(package, syntax):
        raise DataError(
            "compressed, and no decoder for it is installed",
            place=place,
            got=syntax.name if syntax.name != str(syntax) else "an unknown transfer syntax",
            fix=_decompress(),
        )


def _decodable(package: ModuleType, syntax: Any) -> bool:
    try:
        return bool(package.pixels.get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _decompress() -> str:
    return "decompress it (gdcmconv --raw, dcmdjpeg), or install pylibjpeg with its plug-ins"


def _check_header(data: Any, place: str) -> None:
    for tag in ("Rows", "Columns", "PixelData", "PhotometricInterpretation"):
        if tag not in data:
            raise DataError(f"tag {tag} is missing", place=place, fix="only images are read")
    if int(data.get("NumberOfFrames") or 1) != 1:
        raise DataError("one image a file is read, not several frames", place=place)
    if data.PhotometricInterpretation not in GRAYS or int(data.get("SamplesPerPixel", 1)) != 1:
        raise DataError("gray images are read, not color", place=place)
    if int(data.Rows) * int(data.Columns) > MOST_PIXELS or not data.Rows or not data.Columns:
        raise DataError(f"1 to {MOST_PIXELS} pixels are read", place=place)
    plain = int(data.Rows) * int(data.Columns) * int(data.get("BitsAllocated") or 8) // 8
    if len(data.PixelData) > 2 * plain + SLACK:  # decoders unpack all of it, however much it is
        raise DataError("far more bytes than the pixels of the header take", place=place)


def _picture(package: ModuleType, data: Any, place: str) -> Picture:
    stored = data.pixel_array
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(package.pixels.apply_modality_lut(stored, data), np.float32)
    if values.shape != (int(data.Rows), int(data.Columns)):
        raise DataError("the pixels are not as many as the header says", place=place)
    if not (np.abs(values) <= MOST_VALUE).all():
        raise DataError(f"pixels are NaN, infinite or beyond {MOST_VALUE:.0e}", place=place)
    return Picture(
        values=values,
        window=_window(data, place),
        inverted=data.PhotometricInterpretation == "MONOCHROME1",
        identifiers={
            tag: str(data.get(tag)).strip()
            for tag in IDENTIFIERS
            if str(data.get(tag) or "").strip()
        },
    )


def _window(data: Any, place: str) -> Window | None:
    """Return the first window of the file, by DICOM PS3.3 C.11.2.1.2."""
    if "WindowCenter" not in data or "WindowWidth" not in data:
        return None
    center, width = (_first(data[tag].value) for tag in ("WindowCenter", "WindowWidth"))
    shape = str(data.get("VOILUTFunction") or "LINEAR")
    if shape == "LINEAR":
        center, width = center - 0.5, width - 1
    elif shape != "LINEAR_EXACT":
        raise DataError(
            "the file's window is no straight line", place=place, fix="set the option 'window'"
        )
    low, high = center - width / 2, center + width / 2
    if not (low < high and abs(low) <= MOST_VALUE and abs(high) <= MOST_VALUE):
        raise DataError(
            "the file's window is empty or endless", place=place, fix="set the option 'window'"
        )
    return low, high


def _first(value: Any) -> float:
    return float(value if isinstance(value, int | float) else next(iter(value), value))


def grays(picture: Picture, window: Window | None, size: int) -> NDArray[np.uint8]:
    """Return ``[size, size]``: the window from 0 to 255, averaged over boxes while resized.

    Without a window of the user's the file's counts, else the image's own darkest and brightest.
    """
    from PIL import Image

    values = picture.values
    low, high = window or picture.window or (float(values.min()), float(values.max()))
    shown = np.clip((values - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    if picture.inverted:
        shown = 1 - shown
    made = Image.fromarray(shown).resize((size, size), Image.Resampling.BOX)
    return np.asarray(np.rint(np.asarray(made) * 255), np.uint8)
