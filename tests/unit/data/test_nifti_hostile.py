"""NIfTI files from strangers: each fault is one clear error that names no patient."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import DataError
from asepsis.core.samples import Array
from asepsis.data.datasets.nifti_pairs import NiftiPairs
from asepsis.data.nifti import read_scan

nib = pytest.importorskip("nibabel")

SHAPE = (12, 12, 12)
PATIENT = "doe-john-1970"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One sound patient, and one to break."""
    rng = np.random.default_rng(0)
    for patient in ("aaa", PATIENT):
        (tmp_path / patient).mkdir()
        save(tmp_path / patient / "mr.nii.gz", rng.uniform(0, 9, SHAPE).astype(np.float32))
        save(tmp_path / patient / "ct.nii.gz", rng.integers(-900, 900, SHAPE).astype(np.int16))
        save(tmp_path / patient / "mask.nii.gz", np.ones(SHAPE, np.uint8))
    return tmp_path


def save(file: Path, values: Array, affine: Array | None = None) -> None:
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), file)


def refused(root: Path, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        NiftiPairs(path=str(root), size=16).load()
    text = str(caught.value)
    assert PATIENT not in text
    assert str(root) not in text
    assert "folder 2 of 2 in alphabetical order" in text


def patched(file: Path, place: int, form: str, *values: Any) -> None:
    """Overwrite bytes of a header."""
    content = bytearray(gzip.decompress(file.read_bytes()))
    struct.pack_into(form, content, place, *values)
    file.write_bytes(gzip.compress(bytes(content)))


def test_the_sound_folder_is_read(root: Path) -> None:
    assert len(NiftiPairs(path=str(root), size=16).load()) == 2 * 48


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_values_that_are_no_numbers(root: Path, value: float) -> None:
    mr = np.ones(SHAPE, np.float64)
    mr[3, 4, 5] = value
    save(root / PATIENT / "mr.nii.gz", mr)
    refused(root, "NaN, infinite or beyond.*got '1 voxels'")


@pytest.mark.parametrize(
    ("place", "form", "values", "says"),
    [
        (40, "<8h", (3, 30000, 30000, 30000, 1, 1, 1, 1), "sides should be 8 to 1024"),
        (40, "<8h", (3, 1000, 1000, 1000, 1, 1, 1, 1), "voxels at most"),
        (40, "<8h", (3, -12, 12, 12, 1, 1, 1, 1), "sides should be"),
        (40, "<8h", (3, 0, 12, 12, 1, 1, 1, 1), "sides should be"),
        (40, "<8h", (4, 12, 12, 6, 2, 1, 1, 1), "three dimensions"),
        (40, "<8h", (0, 12, 12, 12, 1, 1, 1, 1), "three dimensions"),
        (40, "<8h", (3, 100, 12, 12, 1, 1, 1, 1), "not hold what its header promises"),
        (40, "<8h", (3, 8, 12, 12, 1, 1, 1, 1), "not hold what its header promises"),
        (70, "<h", (128,), "plain numbers"),  # RGB
        (70, "<h", (32,), "plain numbers"),  # complex
        (70, "<h", (31000,), "damaged or not a NIfTI file"),
        (108, "<f", (1e30,), "damaged or not a NIfTI file"),
        (108, "<f", (float("nan"),), "damaged or not a NIfTI file"),
        (108, "<f", (0.0,), "damaged or not a NIfTI file"),
        (112, "<2f", (1e30, 0.0), "NaN, infinite or beyond"),
        (112, "<2f", (1.0, float("nan")), "damaged or not a NIfTI file"),
        (280, "<4f", (float("nan"), 0, 0, 0), "affine"),
        (280, "<4f", (0, 0, 0, 0), "affine"),
        (280, "<4f", (500.0, 0, 0, 0), "affine"),
        (280, "<8f", (1, 1, 0, 0, 1, 1, 0, 0), "affine"),
        (344, "<4s", (b"ni1\0",), "damaged or not a NIfTI file"),
        (0, "<i", (1234,), "not a NIfTI file"),
    ],
)
def test_a_header_that_lies(
    root: Path, place: int, form: str, values: tuple[Any, ...], says: str
) -> None:
    patched(root / PATIENT / "mr.nii.gz", place, form, *values)
    refused(root, says)


def test_any_damage_to_a_header_is_an_error_of_ours_or_none(root: Path) -> None:
    file, rng = root / PATIENT / "mr.nii.gz", np.random.default_rng(0)
    sound, refusals = gzip.decompress(file.read_bytes()), 0
    for _ in range(150):
        content = bytearray(sound)
        for _ in range(int(rng.integers(1, 4))):
            start = int(rng.integers(0, 344))
            content[start : start + 4] = rng.bytes(4)
        file.write_bytes(gzip.compress(bytes(content), 1))
        try:
            read_scan(file, "here")
        except DataError:
            refusals += 1
    assert 30 < refusals < 150


def test_a_slope_is_applied_and_a_slope_of_zero_means_none(root: Path) -> None:
    ct = root / PATIENT / "ct.nii.gz"
    before = NiftiPairs(path=str(root), size=16).load().targets
    patched(ct, 112, "<2f", 0.0, 77.0)
    assert (NiftiPairs(path=str(root), size=16).load().targets == before).all()
    patched(ct, 112, "<2f", 1.0, 10.0)
    after = NiftiPairs(path=str(root), size=16).load()
    assert after.mask is not None
    moved = (after.targets.astype(int) - before)[48:][after.mask[48:]]
    assert np.abs(moved - 10).max() <= 1
    patched(ct, 112, "<2f", 1e-6, 0.0)
    refused(root, "cannot be in Hounsfield units")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def cut_before_packing(file: Path) -> None:
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-1]))


def flip_checksum(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-6] ^= 1
    file.write_bytes(bytes(content))


def not_packed(file: Path) -> None:
    file.write_bytes(gzip.decompress(file.read_bytes()))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def header_only(file: Path) -> None:
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:100]))


@pytest.mark.parametrize(
    "damage", [truncate, cut_before_packing, flip_checksum, not_packed, empty, header_only]
)
def test_damaged_files(root: Path, damage: Callable[[Path], None]) -> None:
    damage(root / PATIENT / "ct.nii.gz")
    refused(root, "damaged or not|not a NIfTI|not hold what")


def test_a_bomb_is_not_unpacked(root: Path) -> None:
    file = root / PATIENT / "ct.nii.gz"
    content = gzip.decompress(file.read_bytes())
    with gzip.open(file, "wb", compresslevel=1) as stream:
        stream.write(content)
        for _ in range(64):
            stream.write(bytes(2**20))
    tracemalloc.start()
    try:
        refused(root, "does not hold what its header promises")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_beforehand(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASEPSIS_MAX_GIB", "0.000001")
    with pytest.raises(DataError, match="too many pixels to hold"):
        NiftiPairs(path=str(root), size=16).load()


def test_volumes_on_other_grids(root: Path) -> None:
    ct = root / PATIENT / "ct.nii.gz"
    values = np.asarray(nib.load(ct).dataobj)
    save(ct, values[:, :, :10])
    refused(root, "differ in shape")
    moved = np.eye(4)
    moved[0, 3] = 2.0
    save(ct, values, moved)
    refused(root, "different places; got '2.0 mm apart'")
    save(root / PATIENT / "mask.nii.gz", np.ones((12, 12, 13), np.uint8))
    save(ct, values)
    refused(root, "differ in shape")


def test_nothing_to_see(root: Path) -> None:
    save(root / PATIENT / "mask.nii.gz", np.zeros(SHAPE, np.uint8))
    refused(root, "no body")
    save(root / PATIENT / "mask.nii.gz", np.ones(SHAPE, np.uint8))
    save(root / PATIENT / "mr.nii.gz", np.ones(SHAPE, np.uint8))
    refused(root, "the same everywhere")
    (root / PATIENT / "mr.nii.gz").unlink()
    refused(root, r"there is no mr\.nii\.gz")


def test_links_out_of_the_folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("elsewhere") / "ct.nii.gz"
    inside = root / PATIENT / "ct.nii.gz"
    inside.rename(outside)
    inside.symlink_to(outside)
    refused(root, "leads out of the folder")
    inside.unlink()
    inside.symlink_to(root / "aaa" / "ct.nii.gz")
    assert len(NiftiPairs(path=str(root), size=16).load()) == 96
    inside.unlink()
    inside.symlink_to(root / "nowhere")
    refused(root, r"there is no ct\.nii\.gz")


def test_broken_links_beside_the_volumes_do_no_harm(root: Path) -> None:
    (root / "aaa" / "notes.txt").symlink_to(root / "nowhere")
    assert len(NiftiPairs(path=str(root), size=16).load()) == 96


def test_a_pipe_is_not_read(root: Path) -> None:
    ct = root / PATIENT / "ct.nii.gz"
    ct.unlink()
    os.mkfifo(ct)
    refused(root, "ct is not a file")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("made", ["Nifti1Image", "Nifti2Image"])
def test_both_versions_and_byte_orders_are_read(root: Path, order: str, made: str) -> None:
    before = NiftiPairs(path=str(root), size=16).load()
    ct = root / PATIENT / "ct.nii.gz"
    values = np.asarray(nib.load(ct).dataobj).astype(order + "i2")
    image = getattr(nib, made)(values, np.eye(4))
    image = getattr(nib, made)(values, np.eye(4), image.header.as_byteswapped(order))
    nib.save(image, root / PATIENT / "ct.nii")
    ct.unlink()
    assert NiftiPairs(path=str(root), size=16).load().digest() == before.digest()
