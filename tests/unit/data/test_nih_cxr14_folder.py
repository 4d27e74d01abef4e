"""The NIH ChestX-ray14 folder, made up on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import ConfigError, DataError
from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.data.dataset import Dataset
from asepsis.data.federate import federate

pillow = pytest.importorskip("PIL.Image")

HEAD = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,View Position\n"
ROWS = (
    ("00000001_000.png", "Cardiomegaly|Emphysema", 1),
    ("00000001_001.png", "No Finding", 1),
    ("00000002_000.png", "Atelectasis", 2),
    ("00000008_000.png", "Hernia", 8),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two archives unpacked, the second image among RGBA pixels as some of the real ones are."""
    lines = [f"{name},{labels},0,{patient},58,PA\n" for name, labels, patient in ROWS]
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(HEAD + "".join(lines))
    for number, (name, _, _) in enumerate(ROWS):
        where = tmp_path / f"images_00{1 + number // 2}" / "images"
        where.mkdir(parents=True, exist_ok=True)
        picture = pillow.fromarray(np.full((20, 20), 60 * number, np.uint8))
        picture.convert("RGBA" if number == 1 else "L").save(where / name)
    return tmp_path


def load(folder: Path, **options: Any) -> Dataset:
    data = build("dataset", {"name": "nih-cxr14-folder", "path": str(folder), **options}).load()
    assert isinstance(data, Dataset)
    return data


def test_images_findings_and_patients(folder: Path) -> None:
    data = load(folder, size=10)
    assert data.inputs.shape == (4, 10, 10)
    assert data.inputs[:, 5, 5].tolist() == [0, 60, 120, 180]
    found = [[data.classes[k] for k in np.flatnonzero(row)] for row in data.targets]
    assert found == [["Cardiomegaly", "Emphysema"], [], ["Atelectasis"], ["Hernia"]]
    assert data.groups.tolist() == [1, 1, 2, 8]
    assert data.split is None
    assert data.attributes["view"].tolist() == ["PA"] * 4


def test_the_official_split_is_used_where_it_lies_beside_the_table(folder: Path) -> None:
    (folder / "train_val_list.txt").write_text(
        "00000001_000.png\n00000001_001.png\n00000008_000.png"
    )
    (folder / "test_list.txt").write_text("00000002_000.png\n")
    data = load(folder)
    assert data.split is not None
    assert data.split.tolist() == [0, 0, 2, 1]
    (hospital,) = federate(
        data, build("partition", {"name": "iid", "min_samples": 1}), 1, Streams(0)
    )
    assert [len(part) for part in (hospital.train, hospital.validation, hospital.test)] == [2, 1, 1]
    (folder / "test_list.txt").write_text("")
    with pytest.raises(DataError, match="do not name an image of the folder"):
        load(folder)


def test_some_archives_and_some_patients_are_enough(folder: Path) -> None:
    assert load(folder, patients=2).groups.tolist() == [1, 1, 2]
    (folder / "images_001" / "images" / "00000001_000.png").unlink()
    assert load(folder).groups.tolist() == [1, 2, 8]
    assert load(folder, patients=1).groups.tolist() == [1]


def test_patients_are_kept_by_number_not_by_how_it_is_written(folder: Path) -> None:
    table = folder / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("Hernia,0,8,", "Hernia,0,10.0,"))
    assert load(folder, patients=2).groups.tolist() == [1, 1, 2]
    assert load(folder).groups.tolist() == [1, 1, 2, 10]


@pytest.mark.parametrize("patients", [None, 2])
@pytest.mark.parametrize("bad", ["0.5", "", "inf", "eight", "9" * 25, "9" * 19, "1e17", "True"])
def test_a_patient_without_a_whole_number_is_refused(
    folder: Path, bad: str, patients: int | None
) -> None:
    table = folder / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace(",8,", f",{bad},"))
    with pytest.raises(DataError, match=r"whole numbers.*line 5 first"):
        load(folder, patients=patients)


@pytest.mark.parametrize(("old", "new"), [("PA", "P" * 5000), ("Hernia", "Hernia|" * 5000)])
def test_a_cell_has_a_longest_text(folder: Path, old: str, new: str) -> None:
    table = folder / "Data_Entry_2017_v2020.csv"
    table.write_text(new.join(table.read_text().rsplit(old, 1)))
    with pytest.raises(DataError, match="line 5 first") as caught:
        load(folder)
    assert len(str(caught.value)) < 500


def test_which_of_two_images_is_meant_is_not_guessed(folder: Path) -> None:
    (folder / "thumbs").mkdir()
    two = pillow.fromarray(np.full((20, 20), 200, np.uint8))
    two.save(folder / "thumbs" / "unknown.png")
    two.save(folder / "unknown.png")
    assert len(load(folder)) == 4
    two.save(folder / "thumbs" / "00000002_000.png")
    with pytest.raises(DataError, match=r"two images"):
        load(folder)


def test_an_image_is_described_once(folder: Path) -> None:
    table = folder / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text() + "00000002_000.png,Mass,0,3,58,PA\n")
    with pytest.raises(DataError, match=r"two rows.*line 6 first"):
        load(folder)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Hernia", "Hernai", "did you mean 'Hernia'"),
        ("Patient ID", "Patient", "did you mean 'Patient'"),
        ("0000000", "../../0000000", "none of the table's images"),
    ],
)
def test_what_is_wrong_with_the_table_is_said(folder: Path, old: str, new: str, says: str) -> None:
    table = folder / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=says):
        load(folder)


def test_what_is_wrong_with_the_folder_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="say which folder"):
        build("dataset", "nih-cxr14-folder").load()
    with pytest.raises(DataError, match="not a folder"):
        load(folder / "Data_Entry_2017_v2020.csv")
    with pytest.raises(DataError, match="there is no Data_Entry_2017"):
        load(folder / "images_001")
    monkeypatch.setenv("ASEPSIS_MAX_GIB", "0.000001")
    with pytest.raises(DataError, match="use a smaller size"):
        load(folder, size=128)
    monkeypatch.undo()
    (folder / "images_002" / "images" / "00000002_000.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(DataError, match="not a readable image"):
        load(folder)
