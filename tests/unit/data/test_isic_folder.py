"""Folders of ISIC images with their tables, made up on the spot."""

from __future__ import annotations

import tracemalloc
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

TRUTH = "ISIC_2019_Training_GroundTruth.csv"
META = "ISIC_2019_Training_Metadata.csv"
HEAD = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n"
MEL, NV, SCC = "1.0,0,0,0,0,0,0,0,0", "0,1.0,0,0,0,0,0,0,0", "0,0,0,0,0,0,0,1,0"
ROWS = (("ISIC_0", MEL), ("ISIC_1", NV), ("ISIC_2", SCC), ("ISIC_3", NV))


def save(file: Path, gray: int, shape: tuple[int, int] = (20, 20)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pillow.fromarray(np.full((*shape, 3), gray, np.uint8)).save(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The challenge of 2019: a folder of images, the truth beside it, lesions in a third file."""
    (tmp_path / TRUTH).write_text(HEAD + "".join(f"{name},{row}\n" for name, row in ROWS))
    for number, (name, _) in enumerate(ROWS):
        save(tmp_path / "ISIC_2019_Training_Input" / f"{name}.jpg", 60 * number)
    return tmp_path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """What the archive's download looks like: PNG here, one table with everything."""
    lines = (
        "ISIC_7,Vienna,nevus,benign,L1,P1,male",
        "ISIC_5,Vienna,melanoma,malignant,L2,P1,",
        "ISIC_6,Sydney,nevus,benign,,,female",
        "ISIC_9,Sydney,nevus,benign,L3,P2,female",
        "ISIC_8,Sydney,melanoma,malignant,L3,,female",
    )
    head = "isic_id,attribution,diagnosis,benign_malignant,lesion_id,patient_id,sex"
    (tmp_path / "metadata.csv").write_text("\n".join((head, *lines)) + "\n")
    for number in range(5, 10):
        save(tmp_path / f"ISIC_{number}.png", 10 * number)
    return tmp_path


def load(folder: Path, **options: Any) -> Dataset:
    data = build("dataset", {"name": "isic-folder", "path": str(folder), **options}).load()
    assert isinstance(data, Dataset)
    return data


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_challenge_is_read_as_it_is_unpacked(folder: Path) -> None:
    data = load(folder, size=10)
    assert data.inputs.shape == (4, 10, 10, 3)
    assert np.abs(data.inputs[:, 5, 5, 0].astype(int) - [0, 60, 120, 180]).max() <= 2
    assert data.classes == ("MEL", "NV", "SCC")  # those that occur, in the challenge's order
    assert data.targets.tolist() == [0, 1, 2, 1]
    assert data.groups.tolist() == [0, 1, 2, 3]
    assert data.sites is None


def test_lesions_are_found_in_the_file_that_tells_them(folder: Path) -> None:
    (folder / META).write_text(
        "image,age_approx,lesion_id,sex\nISIC_3,50,A,male\nISIC_2,,,\nISIC_1,50,A,\nISIC_0,,B,\n"
    )
    data = load(folder)
    assert data.groups.tolist() == [0, 1, 2, 1]
    assert data.attributes["sex"].tolist() == ["", "", "", "male"]
    (folder / "ISIC_2019_Test_Metadata.csv").write_text("image,lesion_id\nISIC_9,Z\n")
    with pytest.raises(DataError, match="which CSV tells patients"):
        load(folder)
    assert load(folder, metadata=META).groups.tolist() == [0, 1, 2, 1]


def test_the_archive_has_patients_lesions_and_sites(archive: Path) -> None:
    data = load(archive)
    assert data.classes == ("melanoma", "nevus")
    assert data.targets.tolist() == [1, 0, 1, 1, 0]
    assert data.inputs[:, 0, 0, 0].tolist() == [70, 50, 60, 90, 80]
    # P1 has two lesions; L3 is of P2, whom its second row does not name.
    assert data.groups.tolist() == [0, 0, 1, 2, 2]
    assert data.sites is not None
    assert data.sites.tolist() == ["Vienna", "Vienna", "Sydney", "Sydney", "Sydney"]
    other = load(archive, target="benign_malignant", site="diagnosis", partial=True, limit=2)
    assert other.classes == ("benign", "malignant")
    assert other.sites is not None
    assert other.sites.tolist() == ["nevus", "melanoma"]


def test_no_lesion_is_in_two_parts(tmp_path: Path) -> None:
    """HAM10000 as Harvard has it: other names of the same columns, several images a lesion."""
    rows = [f"L{n // 3},ISIC_{n},{('nv', 'mel')[n % 2]},vidir" for n in range(60)]
    (tmp_path / "HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx,dataset\n" + "\n".join(rows)
    )
    for n in range(60):
        save(tmp_path / "images" / f"ISIC_{n}.jpg", n, (8, 8))
    data = load(tmp_path, size=8, site="dataset")
    (hospital,) = federate(data, build("partition", "iid"), 1, Streams(3))
    parts = [set(part.groups) for part in (hospital.train, hospital.validation, hospital.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20
    assert min(map(len, parts)) > 0


def test_the_middle_of_an_image_is_kept_as_a_square(folder: Path) -> None:
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 10:30] = 200
    pillow.fromarray(wide).save(folder / "ISIC_2019_Training_Input" / "ISIC_0.jpg", quality=100)
    assert load(folder, size=10).inputs[0, :, 1:9].min() > 190


def test_a_limit_takes_images_evenly_over_their_names(archive: Path) -> None:
    assert load(archive, limit=2).inputs[:, 0, 0, 0].tolist() == [70, 50]
    assert len(load(archive, limit=99)) == 5


def test_names_may_have_endings_and_other_files_are_left_alone(folder: Path) -> None:
    edit(folder / TRUTH, "ISIC_1,", "ISIC_1.JPG,")
    save(folder / "ISIC_1_superpixels.png", 9)
    save(folder / "elsewhere" / "ISIC_99.jpg", 9)
    (folder / "notes.csv").write_bytes(b"\xff\xfe\x00nothing")
    assert len(load(folder)) == 4


def test_a_folder_may_lack_images_when_one_says_so(folder: Path) -> None:
    (folder / "ISIC_2019_Training_Input" / "ISIC_1.jpg").unlink()
    with pytest.raises(DataError, match=r"GroundTruth\.csv.*line 3 first.*partial = true"):
        load(folder)
    assert load(folder, partial=True).targets.tolist() == [0, 2, 1]


def test_lines_are_those_of_the_file_even_where_images_are_left_out(folder: Path) -> None:
    (folder / "ISIC_2019_Training_Input" / "ISIC_1.jpg").unlink()
    edit(folder / TRUTH, f"ISIC_3,{NV}", "ISIC_3,0,0,0,0,0,0,0,0,0")
    with pytest.raises(DataError, match=r"should be 1.*line 5 first"):
        load(folder, partial=True)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("ISIC_2,", "../../ISIC_2,", "not in the folder.*line 4 first"),
        ("ISIC_2,", "/etc/passwd,", "not in the folder.*line 4 first"),
        ("ISIC_2,", ",", "'image' is empty.*line 4 first"),
        ("ISIC_2,", " ,", "'image' is empty.*line 4 first"),
        ("ISIC_2,", "ISIC_0.jpg,", "two rows.*line 4 first"),
        (f"ISIC_2,{SCC}", "ISIC_2,1,1,0,0,0,0,0,0,0", "should be 1.*line 4 first"),
        (f"ISIC_2,{SCC}", "ISIC_2,NaN,0,0,0,0,0,0,1,0", "should be 1.*line 4 first"),
        (f"ISIC_2,{SCC}", "ISIC_2,0.5,0.5,0,0,0,0,0,0,0", "should be 1.*line 4 first"),
        (f"ISIC_2,{SCC}", "ISIC_2,inf,0,0,0,0,0,0,0,0", "should be 1.*line 4 first"),
        ("image,", "file,", "no CSV at its top holds diagnoses"),
    ],
)
def test_what_is_wrong_with_the_table_is_said(folder: Path, old: str, new: str, says: str) -> None:
    edit(folder / TRUTH, old, new)
    with pytest.raises(DataError, match=says) as caught:
        load(folder)
    assert len(str(caught.value)) < 500
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "options", "says"),
    [
        ("melanoma,malignant,L2", ",malignant,L2", {}, "'diagnosis' is empty.*line 3 first"),
        ("melanoma,malignant,L2", " ,malignant,L2", {}, "'diagnosis' is empty.*line 3 first"),
        ("L2,", "L" * 5000 + ",", {}, "at most 256 characters.*line 3 first"),
        ("melanoma", "nevus", {}, "2 to 50 diagnoses.*1 different"),
        ("sex", "sex", {"target": "kind", "labels": "metadata.csv"}, "no such column.*kind"),
        ("sex", "sex", {"site": "hospital"}, "no such column.*hospital"),
        ("sex", "sex", {"labels": "../other.csv"}, "outside the folder"),
        ("sex", "sex", {"labels": "none.csv"}, "no such file"),
        ("isic_id", "who", {"labels": "metadata.csv"}, "no column names the images"),
    ],
)
def test_what_is_wrong_with_other_columns_is_said(
    archive: Path, old: str, new: str, options: dict[str, Any], says: str
) -> None:
    edit(archive / "metadata.csv", old, new)
    (archive.parent / "other.csv").write_text("image,MEL,NV\n")
    with pytest.raises(DataError, match=says) as caught:
        load(archive, **options)
    assert len(str(caught.value)) < 500


def test_an_image_that_the_other_table_does_not_know_is_named(folder: Path) -> None:
    (folder / META).write_text("image,lesion_id\nISIC_0,A\nISIC_1,A\nISIC_3,A\n")
    with pytest.raises(DataError, match=r"Metadata\.csv does not tell.*line 4 first"):
        load(folder)


def test_lesions_that_nobody_names_are_everybody_of_their_own(folder: Path) -> None:
    (folder / META).write_text("image,lesion_id\nISIC_0,\nISIC_1,\nISIC_2,\nISIC_3,\n")
    assert load(folder).groups.tolist() == [0, 1, 2, 3]


def test_which_image_or_table_is_meant_is_not_guessed(folder: Path) -> None:
    save(folder / "thumbs" / "ISIC_1.png", 9)
    with pytest.raises(DataError, match="two images have the same name"):
        load(folder)
    (folder / "thumbs" / "ISIC_1.png").unlink()
    (folder / "more.csv").write_text(HEAD + f"ISIC_0,{MEL}\nISIC_1,{NV}\n")
    with pytest.raises(DataError, match=f"which CSV holds.*{TRUTH}, more.csv"):
        load(folder)
    assert len(load(folder, labels="more.csv")) == 2


def test_images_are_bounded_before_they_are_unpacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / "ISIC_2019_Training_Input" / "ISIC_2.jpg"
    with monkeypatch.context() as few:
        few.setattr("asepsis.data.images.MOST_PIXELS", 399)
        with pytest.raises(DataError, match="more than 399 pixels"):
            load(folder)
    with monkeypatch.context() as small:
        small.setenv("ASEPSIS_MAX_GIB", "0.000001")
        with pytest.raises(DataError, match="use a smaller size"):
            load(folder)
    place.write_bytes(b"\xff\xd8\xff\xe0 broken")
    with pytest.raises(DataError, match=r"not a readable image.*"):
        load(folder)


def test_a_folder_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="say which folder"):
        build("dataset", "isic-folder").load()


def test_patients_are_taken_from_another_file_than_lesions(archive: Path) -> None:
    edit(archive / "metadata.csv", "patient_id", "visit")
    assert load(archive).groups.tolist() == [0, 1, 2, 3, 3]
    rows = "".join(f"ISIC_{n},{who}\n" for n, who in zip(range(5, 10), "AABCC", strict=True))
    (archive / "patients.csv").write_text("isic_id,patient_id\n" + rows)
    # 7 and 8 are of patients B and C; 8 and 9 are one lesion.
    assert load(archive).groups.tolist() == [0, 1, 1, 2, 2]
    (archive / "others.csv").write_text("isic_id,patient_id\n" + rows)
    with pytest.raises(DataError, match=r"which CSV.*others\.csv, patients\.csv.*metadata"):
        load(archive)
    assert load(archive, metadata="patients.csv").groups.tolist() == [0, 1, 1, 2, 2]


def test_lesions_and_patients_may_lie_in_two_more_files(folder: Path) -> None:
    (folder / "lesions.csv").write_text("image,lesion_id\nISIC_0,A\nISIC_1,A\nISIC_2,B\nISIC_3,C\n")
    (folder / "patients.csv").write_text(
        "image,patient_id\nISIC_0,P\nISIC_1,\nISIC_2,Q\nISIC_3,P\n"
    )
    assert load(folder).groups.tolist() == [0, 0, 1, 0]


def test_sites_are_only_needed_where_one_asks_for_them(archive: Path) -> None:
    edit(archive / "metadata.csv", "Sydney,nevus,benign,,", ",nevus,benign,,")
    assert load(archive).sites is None
    with pytest.raises(DataError, match=r"'attribution' is empty.*line 4 first"):
        load(archive, site="attribution")


@pytest.mark.parametrize("word", ["unknown", "Unknown", "na", "NONE", "-", " "])
@pytest.mark.parametrize("column", ["patient_id", "lesion_id"])
def test_a_word_for_nobody_is_no_patient(folder: Path, word: str, column: str) -> None:
    (folder / META).write_text(
        f"image,{column}\nISIC_0,{word}\nISIC_1,A\nISIC_2,{word} \nISIC_3,A\n"
    )
    assert load(folder).groups.tolist() == [0, 1, 2, 1]


def test_images_are_held_once(archive: Path) -> None:
    load(archive, size=8)  # what is imported on the way is no image
    tracemalloc.start()
    data = load(archive, size=1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.inputs.nbytes < peak < 1.5 * data.inputs.nbytes
