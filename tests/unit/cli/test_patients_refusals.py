"""A message about a user's own data says where and what is wrong, and repeats no value or path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import canary_inputs
import numpy as np
import pytest
from canary import FILE, NUMBER, PERSON, STRINGS, TEXT, found_in
from cli_command import asepsis

from asepsis.core.errors import AsepsisError, ConfigError, DataError
from asepsis.data.cards import Card
from asepsis.data.datasets.user_csv import Csv
from asepsis.data.guarded import load_guarded, scrubbed
from asepsis.experiments.patients import message_of
from asepsis.experiments.spec import Experiment, parse

GOOD = [f"{k},{k % 2},P{k}" for k in range(40)]


def csv(folder: Path, lines: list[str], **options: str) -> str:
    path = canary_inputs.place(folder) / f"{FILE}.csv"
    path.write_text("\n".join(lines) + "\n")
    given = "".join(f', {key} = "{value}"' for key, value in options.items())
    return f'{{ name = "csv", path = "{path}", target = "died"{given} }}'


def refusal(folder: Path, dataset: str) -> str:
    path = folder / "mine.toml"
    path.write_text(f"dataset = {dataset}\nfederation = {{ hospitals = 2, rounds = 1 }}\n")
    done = asepsis("run", str(path), "--out", str(folder / "out"), "--jobs", "1")
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert found_in((done.out + done.err).encode()) == set()
    assert not (folder / "out").exists()
    return str(done.err)


@pytest.mark.parametrize(
    ("lines", "options", "says"),
    [
        ([*GOOD, f"{NUMBER},1,{PERSON},{TEXT}"], {}, "line 42 first"),
        ([*GOOD, f"{NUMBER},,{PERSON}"], {"group": "who"}, "column 'died' is empty in 1 rows"),
        ([*GOOD[:2], f"{NUMBER},0,{PERSON}"] * 9, {"group": "nobody"}, "no such column"),
        ([f"inf,1,{PERSON}", *GOOD], {"group": "who"}, "sample 0 holds an infinite value"),
        ([f"{TEXT}{k},{k % 2},{PERSON}" for k in range(40)], {}, "40 different values"),
        ([f"1,{TEXT},{PERSON}"], {}, "should hold 2 to 100 classes"),
    ],
)
def test_a_broken_table_is_told_by_line_and_column(
    tmp_path: Path, lines: list[str], options: dict[str, str], says: str
) -> None:
    assert says in refusal(tmp_path, csv(tmp_path, ["age,died,who", *lines], **options))


def test_a_table_without_a_header_shows_no_row(tmp_path: Path) -> None:
    message = refusal(tmp_path, csv(tmp_path, [f"{NUMBER},{TEXT},{PERSON}", *GOOD]))
    assert "the first line must name the columns" in message


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"labels": np.full(40, NUMBER)}, "targets do not fit 2 classes"),
        ({"split": np.arange(40) % 4}, "a split is 0, 1 or 2"),
        ({"images": np.zeros(40)}, "cannot tell what kind of data"),
        ({"images": np.array([TEXT] * 80).reshape(40, 2)}, "not numbers"),
    ],
)
def test_broken_arrays_are_told_without_their_values(
    tmp_path: Path, arrays: dict[str, Any], says: str
) -> None:
    path = canary_inputs.place(tmp_path) / f"{FILE}.npz"
    images = np.zeros((40, 28, 28), np.uint8)
    whole: dict[str, Any] = {"images": images, "labels": np.arange(40) % 2}
    whole |= {"classes": np.array(["no", "yes"]), "split": np.zeros(40, np.uint8)}
    np.savez(path, **(whole | arrays))
    spec = f'{{ name = "npz", path = "{path}", classes = "classes", split = "split" }}'
    assert says in refusal(tmp_path, spec)


def test_a_damaged_image_is_told_by_its_number(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    spec = canary_inputs.image_folder(tmp_path)
    files = sorted((tmp_path / "CanaryPlace").rglob("*.png"))
    files[4].write_bytes(f"{PERSON} {NUMBER}".encode())
    assert "dataset.path, file 5 of 72 in sorted order" in refusal(tmp_path, spec)


def test_the_data_command_keeps_them_out_as_well(tmp_path: Path) -> None:
    path = canary_inputs.place(tmp_path) / f"{FILE}.csv"
    path.write_text(f"a,target\n{TEXT},0\n{NUMBER},\n")
    done = asepsis("data", "check", "csv", "--set", f'path="{path}"')
    assert done.code == 2
    assert found_in((done.out + done.err).encode()) == set()


class Careless:
    """A plug-in's data set, whose faults repeat what they choke on."""

    card: ClassVar[Card] = Csv.card
    name = "careless"
    path = f"/srv/{FILE}/{PERSON}.csv"
    files: ClassVar[tuple[str, ...]] = ("path",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def load(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"could not convert string to float: '{TEXT}'"),
        DataError(f"cannot read /srv/{FILE}/{PERSON}.csv", place=Careless.path, got=Careless.path),
        ConfigError("no", place=f"/srv/{FILE}", fix=f"move {Careless.path}"),
        OSError(2, "No such file", Careless.path),
    ],
)
def test_faults_of_a_plug_in_tell_no_value(error: Exception) -> None:
    with pytest.raises(AsepsisError) as caught:
        load_guarded(Careless(error))
    assert found_in(str(caught.value).encode()) == set()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def spec_of(dataset: dict[str, Any]) -> Experiment:
    made: Experiment = parse(Experiment, {"dataset": dataset})
    return made


def test_the_record_of_a_failed_run_repeats_nothing(tmp_path: Path) -> None:
    path = tmp_path / FILE / f"{PERSON}.csv"
    own = spec_of({"name": "csv", "path": str(path)})
    for error in (ValueError(f"bad value {TEXT}"), ConfigError(f"{path}: not now", got=str(path))):
        assert found_in(message_of(error, own).encode()) == set()
    public = spec_of({"name": "breast-cancer"})
    assert message_of(ValueError("bad value 7"), public) == "ValueError: bad value 7"
    assert "ValueError" in message_of(ValueError("bad"), own)


def test_words_that_are_no_path_stay() -> None:
    text = 'layout "site/class" or --out DIR; 1/2 of them; and/or'
    assert scrubbed(text, {"path": "x"}) == text
    below = scrubbed(f"bad: '/a/x/{PERSON} y/{TEXT}.png': no", {"path": "/a/x"})
    assert below == "bad: 'dataset.path': no"
    assert all(name not in scrubbed(f"at /a/{name}/b.csv", {}) for name in STRINGS)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("cannot read /home/eva/John Smith/scan.dcm now", "cannot read [file] now"),
        ("cannot read /home/eva/John A Smith.csv", "cannot read [file]"),
        ("at C:\\data\\John Smith\\a.csv: no", "at [file]: no"),
        ("there is no file /a/b here", "there is no file [file] here"),
    ],
)
def test_a_path_with_spaces_is_taken_out_as_a_whole(text: str, left: str) -> None:
    assert scrubbed(text, {"path": "elsewhere"}) == left


class Telling:
    """A user's own data whose error holds what was got."""

    def __init__(self, path: str, got: object) -> None:
        self.path, self.got = path, got

    def load(self) -> Any:
        raise DataError("wrong", place=self.path, got=self.got)


@pytest.mark.parametrize(
    ("got", "told"),
    [
        (Path(f"/a/{PERSON}/x.csv"), "[file]"),
        ([f"/a/{PERSON}/x.csv"], "'[file]'"),
        ({"at": f"/a/{PERSON}"}, "[file]"),
        (7, "got 7"),
        ((2, 3.5), "got (2, 3.5)"),
    ],
)
def test_nothing_that_was_got_names_a_file(got: object, told: str) -> None:
    with pytest.raises(DataError) as caught:
        load_guarded(Telling("mine.csv", got))  # type: ignore[arg-type]
    assert found_in(str(caught.value).encode()) == set()
    assert told in str(caught.value)
    assert "dataset.path" in str(caught.value)


@pytest.mark.parametrize("path", ["a\0b", "~no_such_user_here/x.csv"])
def test_a_path_that_is_none_is_one_message(path: str) -> None:
    with pytest.raises(AsepsisError):
        load_guarded(Telling(path, "x"))  # type: ignore[arg-type]
    with pytest.raises(AsepsisError):
        load_guarded(Csv(path=path, target="died"))
