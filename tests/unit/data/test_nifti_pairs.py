"""A folder of MR and CT volumes, made up on the spot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import ConfigError, DataError, MissingExtraError
from asepsis.core.registry import build
from asepsis.core.samples import Array
from asepsis.data.dataset import Dataset
from asepsis.data.resampling import to_cube

nib = pytest.importorskip("nibabel")

SHAPE = (20, 24, 16)


def save(folder: Path, name: str, values: Array, affine: Array | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), folder / name)


def pair(folder: Path, affine: Array | None = None, *, seed: int = 0, mask: bool = True) -> None:
    """Write an MR of noise, and a CT of water with a skull in a box of air."""
    rng = np.random.default_rng(seed)
    ct = np.full(SHAPE, -1000, np.int16)
    ct[4:16, 4:20, 2:14] = 1200
    ct[5:15, 5:19, 3:13] = 40
    save(folder, "ct.nii.gz", ct, affine)
    save(folder, "mr.nii.gz", rng.uniform(0, 900, SHAPE).astype(np.float32), affine)
    if mask:
        save(folder, "mask.nii.gz", (ct > -500).astype(np.uint8), affine)


def load(root: Path, **options: Any) -> Dataset:
    spec = {"name": "nifti-pairs", "path": str(root), "size": 16, **options}
    data = build("dataset", spec).load()
    assert isinstance(data, Dataset)
    return data


def test_volumes_become_cubes_in_three_planes(tmp_path: Path) -> None:
    for patient in ("p1", "p2", "p3"):
        pair(tmp_path / patient)
    (tmp_path / "overview").mkdir()
    data = load(tmp_path)
    assert data.inputs.shape == (3 * 3 * 16, 16, 16)
    assert (data.unit, data.window, data.volume) == ("HU", (-1024.0, 3071.0), 16)
    assert data.inputs.dtype == np.uint8
    assert data.targets.dtype == np.int16
    cubes = data.targets.reshape(3, 3, 16, 16, 16)
    for plane in range(3):
        assert (np.moveaxis(cubes[:, plane], 1, 1 + plane) == cubes[:, 0]).all()
    grays = data.inputs.reshape(3, -1)
    assert (grays.min(axis=1) == 0).all()
    assert (grays.max(axis=1) == 255).all()
    assert data.groups.tolist() == np.repeat([0, 1, 2], 48).tolist()
    assert data.sites is None
    assert not build("dataset", "nifti-pairs").card.public


def test_what_lies_outside_the_mask_is_the_windows_lower_end(tmp_path: Path) -> None:
    pair(tmp_path / "p1")
    data = load(tmp_path, window=[-200, 300])
    assert data.mask is not None
    assert data.window == (-200.0, 300.0)
    assert (data.targets[~data.mask] == -200).all()
    assert data.targets[data.mask].max() == 300
    # 12 × 16 × 12 mm in a cube of 16 mm: one voxel a millimeter, nothing averaged.
    assert data.mask.sum() == 3 * 12 * 16 * 12
    assert np.unique(data.targets[data.mask]).tolist() == [40, 300]


def test_axes_run_down_back_and_left_however_they_are_stored(tmp_path: Path) -> None:
    ct = np.full((16, 16, 16), -1000, np.int16)
    ct[10:16, 12:16, 14:16] = 500  # to the right (x), in front (y), on top (z)
    mask = np.ones(ct.shape, np.uint8)
    mr = np.random.default_rng(0).uniform(0, 1, ct.shape).astype(np.float32)
    for patient, flips in (("straight", (1, 1, 1)), ("flipped", (-1, 1, -1))):
        affine = np.diag([*flips, 1.0])
        for name, values in (("ct", ct), ("mr", mr), ("mask", mask)):
            save(tmp_path / patient, f"{name}.nii.gz", values[:: flips[0], :, :: flips[2]], affine)
    permuted = np.eye(4)[[2, 0, 1, 3]]  # stored as y, z, x
    for name, values in (("ct", ct), ("mr", mr), ("mask", mask)):
        save(tmp_path / "turned", f"{name}.nii.gz", values.transpose(1, 2, 0), permuted)
    cubes = load(tmp_path).targets.reshape(3, 3, 16, 16, 16)[:, 0]
    expected = np.zeros((16, 16, 16), bool)
    expected[:2, :4, :6] = True
    assert all(np.array_equal(cube == 500, expected) for cube in cubes)


def test_voxels_get_equal_sides_and_the_spacing_is_told(tmp_path: Path) -> None:
    pair(tmp_path / "p1", np.diag([1.0, 1.0, 3.0, 1.0]))
    data = load(tmp_path)
    # 12 × 16 × 36 mm: the cube has 36 mm, so a voxel 2.25 mm.
    assert data.attributes["spacing"].tolist() == pytest.approx([2.25] * 48)
    assert data.mask is not None
    body = data.mask[:16]
    extent = [int(body.any(axis=others).sum()) for others in ((1, 2), (0, 2), (0, 1))]
    assert extent == [16, 8, 6]


def test_averaging_keeps_the_mean_and_pads_around() -> None:
    values = np.random.default_rng(0).normal(size=(7, 12, 5)).astype(np.float32)
    spacing = np.array([1.0, 1.0, 2.0])
    made = to_cube(values, spacing, 9, fill=0)
    assert made.sum() * (12 / 9) ** 3 == pytest.approx(values.sum() * 2, rel=1e-4)
    # By brute force: cells of 1/6 mm, of which an old voxel has 6 × 6 × 12 and a new one 8³.
    fine = np.zeros((72, 72, 72))
    fine[15:57, :, 6:66] = values.repeat(6, 0).repeat(6, 1).repeat(12, 2)
    means = fine.reshape(9, 8, 9, 8, 9, 8).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(made, means, atol=1e-5)


def test_without_a_mask_the_body_is_the_largest_thing_with_its_holes(tmp_path: Path) -> None:
    pair(tmp_path / "p1")
    ct = np.asarray(nib.load(tmp_path / "p1" / "ct.nii.gz").dataobj).copy()
    ct[8:11, 8:11, 6:9] = -1000  # a sinus
    ct[0, 0, 0] = 3000  # the couch
    save(tmp_path / "p1", "ct.nii.gz", ct)
    given = load(tmp_path).mask
    (tmp_path / "p1" / "mask.nii.gz").unlink()
    found = load(tmp_path)
    assert given is not None
    assert found.mask is not None
    assert np.array_equal(found.mask, given)
    assert (found.targets[found.mask] < -900).any()


def test_single_planes_and_middle_slices_are_those_of_the_volume(tmp_path: Path) -> None:
    pair(tmp_path / "p1")
    pair(tmp_path / "p2", seed=1)
    cubes = load(tmp_path).inputs.reshape(2, 3, 16, 16, 16)
    one = load(tmp_path, slices="middle")
    assert np.array_equal(one.inputs, cubes[:, 0, 8])
    every = load(tmp_path, slices="middle", plane="all")
    assert np.array_equal(every.inputs, cubes[:, :, 8].reshape(6, 16, 16))
    flat = load(tmp_path, plane="sagittal")
    assert np.array_equal(flat.inputs, cubes[:, 2].reshape(32, 16, 16))
    assert (one.volume, every.volume, flat.volume) == (None, None, None)


def test_sites_are_outer_folders_or_a_table(tmp_path: Path) -> None:
    for name in ("north/001", "south/001", "south/002"):
        pair(tmp_path / "deep" / name)
    data = load(tmp_path / "deep", layout="site/patient", slices="middle")
    assert data.sites is not None
    assert data.sites.tolist() == ["north", "south", "south"]
    assert data.groups.tolist() == [0, 1, 2]
    for name in ("001", "002"):
        pair(tmp_path / "flat" / name)
    table = tmp_path / "sites.csv"
    table.write_text("patient,site\n002,north\n001,south\n003,south\n")
    by_table = load(tmp_path / "flat", sites=str(table), slices="middle")
    assert by_table.sites is not None
    assert by_table.sites.tolist() == ["south", "north"]
    table.write_text("patient,site\n002,north\n001,west\n")
    again = load(tmp_path / "flat", sites=str(table), slices="middle")
    assert again.sites is not None
    assert again.sites.tolist() == ["west", "north"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("patient,site\nsecret,north\nsecret,south\n", "two rows; got 'line 3 first'"),
        ("patient,site\nsecret,\n", "needed in every row; got 'line 2 first'"),
        ("patient,site\nother,north\n", "1 folders are not in the table; .*folder 1 of 1"),
        ("patient,town\nsecret,north\n", "did you mean|no such column"),
    ],
)
def test_a_bad_table_of_sites_is_told_without_names(tmp_path: Path, text: str, says: str) -> None:
    pair(tmp_path / "secret")
    (tmp_path / "sites.csv").write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        load(tmp_path, sites=str(tmp_path / "sites.csv"))
    assert "secret" not in str(caught.value)


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    pair(tmp_path / "p1")
    with pytest.raises(ConfigError, match="say which folder"):
        build("dataset", "nifti-pairs").load()
    with pytest.raises(ConfigError, match="named twice"):
        load(tmp_path, sites="a.csv", layout="site/patient")
    with pytest.raises(ConfigError, match="window"):
        load(tmp_path, window=[300, -200])
    with pytest.raises(DataError, match=r"got '0 folders'.*outermost"):
        load(tmp_path, layout="site/patient")
    with pytest.raises(DataError, match="not a folder"):
        load(tmp_path / "p1" / "mr.nii.gz")


def test_a_missing_nibabel_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair(tmp_path / "p1")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtraError, match=r"asepsis\[medical\]"):
        load(tmp_path)
