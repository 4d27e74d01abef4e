"""A user's own arrays, tables and images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import AsepsisError, ConfigError, DataError, MissingExtraError
from asepsis.core.samples import Kind
from asepsis.data.datasets.user_csv import Csv
from asepsis.data.datasets.user_images import ImageFolder
from asepsis.data.datasets.user_npz import Npz


def saved(tmp_path: Path, **arrays: Any) -> str:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    return str(path)


def zeros(*shape: int, dtype: Any = np.uint8) -> Any:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("inputs", "targets", "kind"),
    [
        (zeros(4, 9, 9), zeros(4), Kind.IMAGE),
        (zeros(4, 9, 9, 3), zeros(4), Kind.IMAGE),
        (zeros(4, 9, 9, 9), zeros(4, 1), Kind.VOLUME),
        (zeros(4, 9, 9), zeros(4, 5), Kind.MULTILABEL_IMAGE),
        (zeros(4, 9, 9), zeros(4, 9, 9), Kind.PAIRED_IMAGE),
        (zeros(4, 9, dtype=np.float64), zeros(4), Kind.TABLE),
        (zeros(4, 9), zeros(4), Kind.TABLE),
        (zeros(4, 9, 2, dtype=np.int16), zeros(4), Kind.SEQUENCE),
    ],
)
def test_the_kind_of_arrays_is_guessed(
    tmp_path: Path, inputs: Any, targets: Any, kind: Kind
) -> None:
    data = Npz(path=saved(tmp_path, images=inputs, labels=targets)).load()
    assert data.kind is kind
    assert len(data) == 4


def test_named_arrays_sites_groups_and_text_classes(tmp_path: Path) -> None:
    path = saved(
        tmp_path,
        x=zeros(3, 2, dtype=float),
        y=np.array(["ill", "well", "ill"]),
        where=np.array(["A", "B", "B"]),
        who=np.array(["p9", "p1", "p9"]),
    )
    data = Npz(path=path, inputs="x", targets="y", sites="where", groups="who").load()
    assert data.classes == ("ill", "well")
    assert data.targets.tolist() == [0, 1, 0]
    assert data.sites is not None
    assert data.sites.tolist() == ["A", "B", "B"]
    assert data.groups.tolist() == [1, 0, 1]


def test_medmnist_like_files_bring_their_split(tmp_path: Path) -> None:
    arrays = {
        f"{part}_{what}": zeros(n, *shape)
        for part, n in (("train", 3), ("val", 1), ("test", 2))
        for what, shape in (("images", (8, 8)), ("labels", (1,)))
    }
    data = Npz(path=saved(tmp_path, **arrays)).load()
    assert data.split is not None
    assert data.split.tolist() == [0, 0, 0, 1, 2, 2]


@pytest.mark.parametrize(
    ("arrays", "options", "says"),
    [
        ({"image": zeros(2, 8, 8), "labels": zeros(2)}, {}, "did you mean 'image'"),
        ({"images": zeros(2, 8, 8), "labels": zeros(3)}, {}, "targets has another length"),
        ({"images": zeros(2), "labels": zeros(2)}, {}, "cannot tell what kind"),
        ({"images": np.array([["a"], ["b"]]), "labels": zeros(2)}, {}, "not numbers"),
        ({"images": zeros(2, 8, 8, dtype=float), "labels": zeros(2)}, {"kind": "image"}, "uint8"),
        (
            {"images": zeros(2, 3, dtype=float), "labels": np.array([0.5, np.nan])},
            {},
            "not classes",
        ),
    ],
)
def test_bad_arrays_are_one_clear_error(
    tmp_path: Path, arrays: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    if "kind" in options:
        options = {"kind": Kind(options["kind"])}
    with pytest.raises(DataError, match=says):
        Npz(path=saved(tmp_path, **arrays), **options).load()


@pytest.mark.parametrize("component", [Npz(), Csv(), ImageFolder()])
def test_a_path_is_asked_for(component: Any) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.path: say which"):
        component.load()


@pytest.mark.parametrize("made", [Npz, Csv, ImageFolder])
def test_a_missing_file_is_named(made: Any) -> None:
    with pytest.raises(DataError, match="/no/such: there is no such file"):
        made(path="/no/such").load()


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    return str(path)


TABLE = """age,ward,died,hospital,patient,note
50,A,no,north,1,x
60,?,yes,south,2,y
,B,no,south,2,z
"""


def test_a_table_is_read_with_sites_patients_and_encoded_text(tmp_path: Path) -> None:
    options = Csv(
        path=written(tmp_path, TABLE),
        target="died",
        site="hospital",
        group="patient",
        ignore=("note",),
    )
    data = options.load()
    expected = np.array([[50, 1, 0], [60, 0, 0], [np.nan, 0, 1]], np.float32)
    np.testing.assert_array_equal(data.inputs, expected)
    assert data.classes == ("no", "yes")
    assert data.targets.tolist() == [0, 1, 0]
    assert data.groups.tolist() == [0, 1, 1]
    assert data.sites is not None
    assert data.sites.tolist() == ["north", "south", "south"]


def many_levels(n: int = 30) -> str:
    return "text,target\n" + "".join(f"v{k},{k % 2}\n" for k in range(n))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TABLE, "no such column; got 'target'; did you mean 'age'. One of: age"),
        ("a,tarket\n1,0\n", "did you mean 'tarket'"),
        ("a,target\n", "no row below the header"),
        ("", "not a readable CSV file"),
        ("a,target\n1,0\n2,\n", "column 'target' is empty in 1 rows; got 'line 3 first'"),
        ("a,target\n1,0\n2,0\n", "should hold 2 to 100 classes"),
        ("target\n0\n1\n", "no column is left"),
        ("a,target\n1,0\ninf,1\n", "infinite"),
        (many_levels(), 'text with 30 different values; ignore = \\["text"\\]'),
        (",".join(f"c{k}" for k in range(3000)) + "\n", "more than 2000 columns"),
        ('a,target\n"1,0\n2,1\n', "not a readable CSV file|no row"),
    ],
)
def test_bad_tables_are_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Csv(path=written(tmp_path, text)).load()


def test_binary_rubbish_is_not_a_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(bytes(range(128, 256)) * 10)
    with pytest.raises(DataError, match="not a readable CSV file"):
        Csv(path=str(path)).load()


def pictures(root: Path, *names: str) -> str:
    image = pytest.importorskip("PIL.Image")
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (20, 30), (40 * number, 0, 0)).save(root / name)
    return str(root)


def test_folders_are_classes(tmp_path: Path) -> None:
    root = pictures(tmp_path, "ill/p1_a.png", "ill/p1_b.jpg", "well/p2_a.png")
    data = ImageFolder(path=root, size=8, patient_until="_").load()
    assert data.inputs.shape == (3, 8, 8)
    assert data.classes == ("ill", "well")
    assert data.targets.tolist() == [0, 0, 1]
    assert data.groups.tolist() == [0, 0, 1]
    assert data.sites is None


def test_outer_folders_can_be_hospitals(tmp_path: Path) -> None:
    root = pictures(tmp_path, "north/ill/a.png", "south/ill/a.png", "south/well/b.png")
    data = ImageFolder(path=root, layout="site/class", color=True, size=8).load()
    assert data.inputs.shape == (3, 8, 8, 3)
    assert data.sites is not None
    assert data.sites.tolist() == ["north", "south", "south"]


def test_bad_folders_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="got '0 images'"):
        ImageFolder(path=str(tmp_path)).load()
    root = pictures(tmp_path, "ill/a.png")
    with pytest.raises(DataError, match="two classes are needed"):
        ImageFolder(path=root).load()
    (tmp_path / "well").mkdir()
    (tmp_path / "well" / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png: not a readable image"):
        ImageFolder(path=root).load()
    (tmp_path / "well" / "b.png").unlink()
    pictures(tmp_path, "well/c.png")
    monkeypatch.setattr("asepsis.data.images.MOST_PIXELS", 599)
    with pytest.raises(DataError, match="more than 599 pixels"):
        ImageFolder(path=root, size=9).load()


def test_a_missing_pillow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pictures(tmp_path, "ill/a.png", "well/a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"asepsis\[medical\]"):
        ImageFolder(path=root).load()


def test_every_error_here_is_one_the_command_line_prints() -> None:
    assert issubclass(DataError, AsepsisError)
