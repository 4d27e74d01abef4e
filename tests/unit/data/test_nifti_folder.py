"""A folder of volumes, made up on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import ConfigError, DataError
from asepsis.core.registry import build
from asepsis.core.samples import Array, Kind
from asepsis.data.dataset import Dataset

nib = pytest.importorskip("nibabel")


def write(file: Path, values: Array | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        values = np.arange(16**3, dtype=np.int16).reshape(16, 16, 16)
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1.0, -1.0, 1.0])), file)


def load(root: Path, **options: Any) -> Dataset:
    data = build(
        "dataset", {"name": "nifti-folder", "path": str(root), "size": 8, **options}
    ).load()
    assert isinstance(data, Dataset)
    return data


def test_volumes_by_site_class_and_patient(tmp_path: Path) -> None:
    for name in ("n/ill/p1_a.nii.gz", "n/ill/p1_b.nii", "n/well/p2_a.nii.gz", "s/ill/p1_a.nii.gz"):
        write(tmp_path / name)
    data = load(tmp_path, layout="site/class", patient_until="_")
    assert data.kind is Kind.VOLUME
    assert data.inputs.shape == (4, 8, 8, 8)
    assert data.classes == ("ill", "well")
    assert data.targets.tolist() == [0, 0, 1, 0]
    assert data.sites is not None
    assert data.sites.tolist() == ["n", "n", "n", "s"]
    assert data.groups.tolist() == [0, 0, 1, 2]  # p1 of the other site is somebody else


def test_windowed_and_averaged(tmp_path: Path) -> None:
    values = np.zeros((16, 16, 16), np.int16)
    values[8:] = 100
    values[0, 0, 0] = 50
    for label in "ab":
        write(tmp_path / label / "x.nii.gz", values)
    cube = load(tmp_path, window=(0.0, 100.0)).inputs[0]
    # The first axis is the patient's left to right; upright volumes run z, y, x.
    assert sorted((cube == 255).mean(axis=(0, 1)).tolist()) == [0.0] * 4 + [1.0] * 4
    assert sorted(set(cube.ravel().tolist())) == [0, round(255 * 0.5 / 8), 255]


def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none at all"):
        load(tmp_path)
    write(tmp_path / "a" / "one.nii.gz")
    with pytest.raises(DataError, match="two classes"):
        load(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.nii").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"file 2 of 2 .*not a NIfTI file"):
        load(tmp_path)
    write(tmp_path / "b" / "two.nii", np.ones((16, 16, 16), np.int16))
    with pytest.raises(DataError, match=r"file 2 of 2 .*the same everywhere"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="low to high"):
        load(tmp_path, window=(1.0, 0.0))


def test_hidden_folders_are_no_classes_and_no_sites(tmp_path: Path) -> None:
    for name in ("n/ill/a.nii", "n/well/b.nii", "n/.trash/c.nii", ".cache/ill/d.nii"):
        write(tmp_path / name)
    data = load(tmp_path, layout="site/class")
    assert data.classes == ("ill", "well")
    assert data.sites is not None
    assert set(data.sites.tolist()) == {"n"}
