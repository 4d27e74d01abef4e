"""Read NIfTI volumes from strangers: header first, sizes bounded, no byte more than it promises.

nibabel interprets headers and orientations; the bytes are read here, so that an archive that
unpacks to more than its header says is never unpacked. Messages name no file: a folder of a
patient is an identifier.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from asepsis.core.errors import DataError, MissingExtraError
from asepsis.core.samples import Array
from asepsis.data.npz import max_bytes

if TYPE_CHECKING:
    from types import ModuleType

LEAST_SIDE, MOST_SIDE = 8, 1024
MOST_VOXELS = 2**27
MOST_OFFSET = 2**20
"""Bytes of extensions between a header and its data."""
MOST_VALUE = 1e9
SPACINGS = (0.05, 20.0)
"""Millimeters from voxel to voxel that are believed."""
UPRIGHT = ("I", "P", "L")
"""Axes run downward, backward and to the patient's left."""

_SIZES = {348: "Nifti1Header", 540: "Nifti2Header"}
_BROKEN = (
    *(OSError, EOFError, MemoryError, zlib.error),
    *(ValueError, LookupError, ArithmeticError),
)


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume as it is stored: float32 ``[i, j, k]`` and the affine from indices to mm."""

    values: NDArray[np.float32]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Millimeters from voxel to voxel along each axis."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))


def nibabel() -> ModuleType:
    """Return the package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import nibabel as package
    except ImportError:
        raise MissingExtraError("nibabel", "medical") from None
    return package


def read_scan(file: Path, place: str) -> Scan:
    """Return one volume of a ``.nii`` or ``.nii.gz`` file; ``place`` is its name in messages.

    Raises:
        DataError: damaged, truncated, too large, not three-dimensional, of no plain number type,
            with values that are no numbers, or with an affine that no scanner has.
        MissingExtraError: nibabel is not installed.
    """
    package = nibabel()
    errors = (*_BROKEN, package.spatialimages.HeaderDataError)
    if not file.is_file():  # a pipe would be waited for, forever
        raise DataError("not a plain file", place=place)
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with cast("IO[bytes]", opened(file, "rb")) as stream:
            header = _header(package, stream, place)
            shape = _shape(header, place)
            affine = _affine(header, place)
            values = _values(header, shape, stream, place)
    except errors as error:
        words = f"damaged or not a NIfTI file ({type(error).__name__})"
        raise DataError(words, place=place) from None
    return Scan(values, affine)


def _header(package: ModuleType, stream: IO[bytes], place: str) -> Any:
    start = stream.read(4)
    for mark in "<>":
        size = int(np.frombuffer(start, f"{mark}i4")[0])
        if size in _SIZES:
            made = getattr(package, _SIZES[size])
            rest = stream.read(size - 4)
            if len(rest) == size - 4:
                return _checked(made(start + rest, mark, check=False))
    raise DataError("not a NIfTI file", place=place)


def _checked(header: Any) -> Any:
    if not bytes(header["magic"].item()).startswith(b"n+"):
        raise ValueError("data in a second file")
    offset = float(header["vox_offset"])
    if not header.sizeof_hdr <= offset <= MOST_OFFSET or offset != int(offset):
        raise ValueError("data at an impossible place")
    return header


def _shape(header: Any, place: str) -> tuple[int, ...]:
    shape = tuple(int(side) for side in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise DataError("a volume has three dimensions", place=place, got=shape)
    sound = all(LEAST_SIDE <= side <= MOST_SIDE for side in shape)
    if not sound or prod(shape) > MOST_VOXELS:
        raise DataError(
            f"sides should be {LEAST_SIDE} to {MOST_SIDE}, and {MOST_VOXELS} voxels at most",
            place=place,
            got=shape,
        )
    return shape


def _affine(header: Any, place: str) -> NDArray[np.float64]:
    affine = np.asarray(header.get_best_affine(), np.float64)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    sound = np.isfinite(affine).all() and (SPACINGS[0] <= spacing).all()
    if not sound or (spacing > SPACINGS[1]).any() or not _volume_kept(affine, spacing):
        raise DataError("the affine is not that of a scan", place=place, fix="check its header")
    return affine


def _volume_kept(affine: NDArray[np.float64], spacing: NDArray[np.float64]) -> bool:
    """Whether the axes span a space: a voxel with right angles has a share of 1."""
    return bool(abs(np.linalg.det(affine[:3, :3] / spacing)) > 0.1)


def _values(
    header: Any, shape: tuple[int, ...], stream: IO[bytes], place: str
) -> NDArray[np.float32]:
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DataError("voxels should be plain numbers", place=place, got=str(dtype))
    count = prod(shape) * dtype.itemsize
    if count > max_bytes():
        raise DataError("too large", place=place, fix="set ASEPSIS_MAX_GIB if you have the memory")
    slope, intercept = header.get_slope_inter()
    stream.read(int(header["vox_offset"]) - header.sizeof_hdr)
    content = stream.read(count)
    if len(content) != count or stream.read(1):  # the last read compares the checksum, too
        raise DataError("does not hold what its header promises", place=place)
    with np.errstate(over="ignore", invalid="ignore"):
        stored = np.frombuffer(content, dtype).reshape(shape, order="F")
        values = stored.astype(np.float32)
        if slope is not None:
            values = values * np.float32(slope) + np.float32(intercept)
    wrong = np.count_nonzero(~(np.abs(values) <= MOST_VALUE))
    if wrong:
        words = f"voxels are NaN, infinite or beyond {MOST_VALUE:.0e}"
        raise DataError(words, place=place, got=f"{wrong} voxels")
    return values


def check_aligned(one: Scan, other: Scan, place: str) -> None:
    """Check that two volumes share one grid.

    Raises:
        DataError: shapes differ, or corners lie more than half a voxel apart.
    """
    if one.values.shape != other.values.shape:
        raise DataError(
            "volumes of a patient differ in shape",
            place=place,
            got=f"{one.values.shape} and {other.values.shape}",
            fix="resample them to one grid first",
        )
    ends = [(0, side - 1) for side in one.values.shape]
    corners = np.stack([*np.meshgrid(*ends, indexing="ij"), np.ones((2, 2, 2))]).reshape(4, -1)
    apart = np.abs((one.affine - other.affine) @ corners).max()
    if apart > one.spacing.min() / 2:
        raise DataError(
            "volumes of a patient lie in different places",
            place=place,
            got=f"{apart:.1f} mm apart",
            fix="register them first",
        )


def upright(scan: Scan) -> tuple[Array, NDArray[np.float64]]:
    """Return values ``[z, y, x]`` downward, backward, leftward, and the spacing along them."""
    turning = nibabel().orientations
    wanted = turning.axcodes2ornt(UPRIGHT)
    turn = turning.ornt_transform(turning.io_orientation(scan.affine), wanted)
    spacing = np.empty(3)
    spacing[turn[:, 0].astype(int)] = scan.spacing
    return np.ascontiguousarray(turning.apply_orientation(scan.values, turn)), spacing
