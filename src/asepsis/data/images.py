"""Read image files from strangers: known formats only, sizes bounded before they are unpacked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asepsis.core.errors import DataError, MissingExtraError
from asepsis.core.samples import Array
from asepsis.data.npz import max_bytes

if TYPE_CHECKING:
    from types import ModuleType

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
DEEP = ("I", "F")
"""Pillow's modes of 16 and 32 bits, which it would clip at 255."""
MOST_FILES = 500_000
MOST_PIXELS = 100_000_000


def images_by_name(
    root: Path,
    wanted: Container[str],
    endings: Container[str],
    name: Callable[[Path], str] = lambda file: file.name,
) -> dict[str, Path]:
    """Return the images wanted below a folder by ``name``; no table ever makes a path.

    Raises:
        DataError: two images have the same name, or there are too many.
    """
    found: dict[str, Path] = {}
    for file in sorted(root.rglob("*")):
        key = name(file)
        if key not in wanted or file.suffix.lower() not in endings:
            continue
        if key in found:
            raise DataError(
                "two images have the same name",
                place=str(file),  # not repeated where the data are a user's own
                fix="take one of them out of the folder",
            )
        found[key] = file
    if len(found) > MOST_FILES:
        raise DataError(f"more than {MOST_FILES} images", place=str(root), got=len(found))
    return found


def read_images(
    files: Sequence[Path],
    size: int,
    root: Path,
    *,
    color: bool = False,
    center: bool = False,
    draft: bool = False,
) -> Array:
    """Return images as uint8 ``[n, size, size]``, or ``[n, size, size, 3]`` with ``color``.

    Each is made gray (or RGB) and resized by averaging over boxes while it is read: the whole
    image, stretched where it is no square, or with ``center`` the square in its middle. With
    ``draft`` a large JPEG is decoded at a half, a quarter or an eighth of its size, at least twice
    what is asked for: far faster, and a few gray values apart from decoding all of it.

    Raises:
        DataError: together they would not fit in memory, or one is damaged, too large, or has
            more than 8 bits a gray value.
        MissingExtraError: Pillow is not installed.
    """
    shape = (size, size, 3) if color else (size, size)
    if len(files) * int(np.prod(shape)) > max_bytes():
        raise DataError("too many pixels to hold", place=str(root), fix="use a smaller size")
    pillow = _pillow()
    read = _Reader(pillow, size, "RGB" if color else "L", center, draft)
    made = np.empty((len(files), *shape), np.uint8)
    with warnings.catch_warnings():
        # Pillow warns of images that are large for it; which are too large for us is said below.
        warnings.simplefilter("ignore", pillow.DecompressionBombWarning)
        for number, file in enumerate(files):
            made[number] = read(file)
    return made


@dataclass(frozen=True)
class _Reader:
    pillow: ModuleType
    size: int
    mode: str
    center: bool
    draft: bool

    def __call__(self, file: Path) -> Any:
        pillow = self.pillow
        if not file.is_file():  # a pipe would be waited for, forever
            raise DataError("not a plain file", place=str(file))
        try:
            with pillow.open(file, formats=FORMATS) as image:
                _check(image, file)
                box = self._box(image)
                made = image.convert(self.mode)
                return np.asarray(made.resize((self.size,) * 2, pillow.Resampling.BOX, box=box))
        except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
            raise DataError(f"not a readable image ({error})", place=str(file)) from None

    def _box(self, image: Any) -> tuple[float, ...]:
        """Return what is used of an image, which will be decoded smaller where that does."""
        width, height = image.size
        box = _middle(width, height) if self.center else (0, 0, width, height)
        drafted = image.draft(None, (2 * self.size,) * 2) if self.draft else None
        # The last column of a draft may be of less than a whole block: its exact width counts.
        scale = 1 if drafted is None else drafted[1][2] / width
        return tuple(edge * scale for edge in box)


def _check(image: Any, file: Path) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"more than {MOST_PIXELS} pixels", place=str(file), got=image.size)
    if image.mode.startswith(DEEP):
        raise DataError(
            "gray values have more than 8 bits",
            place=str(file),
            got=image.mode,
            fix="map them to 0 to 255 first: which are black and white is yours to say",
        )


def _middle(width: int, height: int) -> tuple[int, int, int, int]:
    """Return the square in the middle of an image: left, top, right, bottom."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("pillow", "medical") from None
    return Image
