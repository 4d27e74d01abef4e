"""A folder of DICOM images, made up on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import AsepsisError, ConfigError, DataError
from asepsis.core.registry import build
from asepsis.core.samples import Array, Kind
from asepsis.data.dataset import Dataset
from asepsis.data.dicom import read_dicom

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("PIL")

SECRET = "SURNAME^GIVEN"
SIDE = 16


def write(file: Path, pixels: Array | None = None, syntax: str = "", **tags: Any) -> Path:
    """Write one image; a tag that is ``None`` is left out."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = (
        np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) if pixels is None else pixels
    )
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax) if syntax else ExplicitVRLittleEndian
    uid = generate_uid(entropy_srcs=[file.as_posix()])
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = uid
    data = pydicom.Dataset()
    data.file_meta = meta
    known = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": uid,
        "PatientName": SECRET,
        "PatientID": f"{SECRET} {file.stem}",
        "StudyInstanceUID": "1.2.3",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    }
    for name, value in {**known, **tags}.items():
        if value is not None:
            setattr(data, name, value)
    data.save_as(file, enforce_file_format=True)
    return file


def load(root: Path, **options: Any) -> Dataset:
    data = build(
        "dataset", {"name": "dicom-folder", "path": str(root), "size": 8, **options}
    ).load()
    assert isinstance(data, Dataset)
    return data


def fails(root: Path, words: str, **options: Any) -> None:
    with pytest.raises(AsepsisError, match=words) as caught:
        load(root, **options)
    assert "SURNAME" not in str(caught.value)
    assert caught.value.__cause__ is None


def two_sites(root: Path, **tags: Any) -> None:
    for site in ("north", "south"):
        for label in ("ill", "well"):
            for number in range(2):
                write(root / site / label / f"{number}.dcm", **tags)


def test_sites_classes_and_patients(tmp_path: Path) -> None:
    two_sites(tmp_path)
    data = load(tmp_path, layout="site/class")
    assert data.kind is Kind.IMAGE
    assert data.inputs.shape == (8, 8, 8)
    assert data.classes == ("ill", "well")
    assert data.targets.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert data.sites is not None
    assert data.sites.tolist() == ["north"] * 4 + ["south"] * 4
    # 0.dcm of "ill" and of "well" at one site are one patient; at another site another.
    assert data.groups[0] == data.groups[2] != data.groups[1]
    assert len(np.unique(data.groups)) == 4
    assert data.groups.dtype == np.int64


def test_rescaled_windowed_and_averaged(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16), np.int16)
    pixels[:, 8:] = 200
    pixels[0, 0] = 100
    for label in "ab":
        write(tmp_path / label / "x.dcm", pixels, RescaleSlope=2, RescaleIntercept=-1000)
    # Values are -1000, -800 and -600: of a window from -1000 to -600 that is 0, 1/2 and 1.
    image = load(tmp_path, window=(-1000.0, -600.0)).inputs[0]
    assert image[:, 4:].tolist() == [[255] * 4] * 8
    assert image[0, 0] == round(255 * 0.5 / 4)  # one pixel of four
    assert (image[1:, :4] == 0).all()


def test_the_files_window_and_inversion(tmp_path: Path) -> None:
    pixels = np.full((16, 16), 50, np.uint16)
    tags: dict[str, Any] = {"WindowCenter": [50, 90], "WindowWidth": [100, 10]}
    write(tmp_path / "a" / "x.dcm", pixels, **tags)
    write(tmp_path / "b" / "x.dcm", pixels, PhotometricInterpretation="MONOCHROME1", **tags)
    # PS3.3 C.11.2.1.2: (50 - 49.5) / 99 + 0.5 of the whole range
    share = 0.5 / 99 + 0.5
    assert load(tmp_path).inputs[:, 0, 0].tolist() == [round(255 * share), round(255 * (1 - share))]


def test_labels_by_uid_by_name_and_by_path(tmp_path: Path) -> None:
    files = [write(tmp_path / "in" / site / f"{k}.dcm") for site in "ab" for k in range(2)]
    uids = [pydicom.dcmread(file).SOPInstanceUID for file in files]
    table = tmp_path / "labels.csv"
    paths = [file.relative_to(tmp_path / "in").as_posix() for file in files]
    for column, keys in (("SOPInstanceUID", uids), ("file", paths)):
        rows = "".join(f"{key},{label}\n" for key, label in zip(keys, "xyyx", strict=True))
        table.write_text(f"{column},died\n{rows}")
        data = load(tmp_path / "in", layout="site", labels=str(table), target="died")
        assert [data.classes[k] for k in data.targets] == ["x", "y", "y", "x"]
    table.write_text("file,died\n0.dcm,x\n1.dcm,y\n")
    fails(
        tmp_path / "in",
        "two files have the same file",
        layout="site",
        labels=str(table),
        target="died",
    )
    table.write_text("file,died\n1.dcm,y\n")
    fails(tmp_path / "in", "not in the table", layout="site", labels=str(table), target="died")
    table.write_text("file,died\n1.dcm,y\n1.dcm,x\n")
    fails(tmp_path / "in", "two rows; got 'line 3", layout="site", labels=str(table), target="died")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PatientID": None}, "tag PatientID is missing"),
        ({"PatientID": ""}, "tag PatientID is missing"),
        ({"PixelData": None}, "tag PixelData is missing"),
        ({"Rows": None}, "tag Rows is missing"),
        ({"Rows": 60000, "Columns": 60000}, "1 to 100000000 pixels"),
        ({"Rows": 17}, "damaged or not a DICOM file"),
        ({"NumberOfFrames": 3}, "not several frames"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "not color"),
        ({"RescaleSlope": 1e30, "RescaleIntercept": 0}, "infinite or beyond"),
        ({"WindowCenter": 1, "WindowWidth": 1}, "empty or endless"),
        ({"WindowCenter": 1, "WindowWidth": 9, "VOILUTFunction": "SIGMOID"}, "no straight line"),
        ({"syntax": "1.2.840.10008.1.2.1.99"}, "deflated files are not read"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_by_its_number(
    tmp_path: Path, tags: dict[str, Any], words: str
) -> None:
    write(tmp_path / "a" / "one.dcm")
    write(tmp_path / "b" / "two.dcm", **tags)
    fails(tmp_path, f"file 2 of 2 in sorted order: .*{words}")


def test_compressed_without_a_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "b" / "two.dcm")
    file = write(tmp_path / "a" / "one.dcm")
    data = pydicom.dcmread(file)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"  # JPEG lossless
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + bytes(10)])
    data["PixelData"].VR = "OB"
    data.save_as(file)
    fails(tmp_path, "no decoder for it is installed.*JPEG Lossless.*decompress it")


@pytest.mark.parametrize("content", [b"", b"no image", bytes(128) + b"DICM" + bytes(40)])
def test_what_is_no_dicom_file(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "b" / "two.dcm")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.dcm").write_bytes(content)
    fails(tmp_path, "file 1 of 2 .*(damaged or not a DICOM file|TransferSyntaxUID is missing)")


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    fails(tmp_path, "holds none at all")
    write(tmp_path / "a" / "one.dcm")
    fails(tmp_path, "two classes are needed at least; got '1 class'")
    fails(tmp_path, "they are one folder down", layout="site/class")
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="one of the two"):
        load(tmp_path, layout="site")
    with pytest.raises(ConfigError, match="low to high"):
        load(tmp_path, window=(3.0, 3.0))


def test_a_link_that_leads_out(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "one.dcm")
    write(tmp_path / "in" / "a" / "one.dcm")
    (tmp_path / "in" / "b").mkdir()
    (tmp_path / "in" / "b" / "two.dcm").symlink_to(outside)
    fails(tmp_path / "in", "link that leads out")


def test_what_unpacks_to_more_than_the_header_says_is_not_unpacked(tmp_path: Path) -> None:
    import tracemalloc

    from pydicom.encaps import encapsulate
    from pydicom.uid import RLELossless

    runs = bytes([129, 0]) * 1_000_000  # each stands for 128 bytes
    segment = np.array([1, 64, *[0] * 14], "<u4").tobytes() + runs
    file = write(
        tmp_path / "x.dcm",
        syntax=RLELossless,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=encapsulate([segment]),
    )
    tracemalloc.start()
    with pytest.raises(DataError, match="far more bytes"):
        read_dicom(file, "file 1")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000_000
