"""CSV files that are not quite tables, and the lines that messages name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from asepsis.core.errors import DataError
from asepsis.data.tables import read_csv, refuse_rows


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("image,diagnosis\nISIC_0,X0,a\nISIC_1,X1,b\n", 2),
        ("image,diagnosis\nISIC_0,a,\nISIC_1,b,X\n", 3),
        ("image,diagnosis\nISIC_0,a\n\nISIC_1,b,X\n", 4),
        ('image,diagnosis\n"ISIC\n0",a\nISIC_1,b,\n', 4),
    ],
)
def test_a_row_with_more_fields_than_the_header_is_named(
    tmp_path: Path, text: str, line: int
) -> None:
    (tmp_path / "some.csv").write_text(text)
    with pytest.raises(DataError, match=rf"more fields than the header.*line {line} first"):
        read_csv(tmp_path / "some.csv", as_text=True)


def test_a_comma_after_every_row_makes_no_column(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("image,diagnosis\nISIC_0,a,\nISIC_1,b,\n")
    table = read_csv(tmp_path / "some.csv", as_text=True)
    assert table.to_numpy().tolist() == [["ISIC_0", "a"], ["ISIC_1", "b"]]


@pytest.mark.parametrize(
    ("before", "line"),
    [
        (b"a,b\n", 2),
        (b"\xef\xbb\xbfa,b\r\n\r\n1,2\r\n", 4),
        (b"\n\na,b\n\n \t\n1,2\n\n", 8),
        (b'a,b\n"1\n\n1",2\n', 5),
        (b'"a\n",b\n1,2\n', 4),
    ],
)
def test_lines_are_counted_as_an_editor_does(tmp_path: Path, before: bytes, line: int) -> None:
    place = tmp_path / "some.csv"
    place.write_bytes(before + b"wrong,2\nwrong,3\n")
    table = read_csv(place, as_text=True)
    wrong = table.iloc[:, 0].eq("wrong").to_numpy()
    with pytest.raises(DataError, match=f"line {line} first"):
        refuse_rows("some words", wrong, place)


def test_a_row_is_named_where_its_line_cannot_be_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2 first"):
        refuse_rows("some words", np.array([False, True]), tmp_path / "gone.csv")


def test_no_line_is_named_of_a_table_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "some.zip").write_bytes(b"PK\x03\x04\n,,,,\n")
    with pytest.raises(DataError, match="more fields than the header") as caught:
        read_csv(tmp_path / "some.zip", io.BytesIO(b"a,b\n1,2,3\n"))
    assert "first" not in str(caught.value)
