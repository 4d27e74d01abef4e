"""Bad input: one message that names the place, what was got and what would do; nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_command import asepsis, refused, toml


def refuse(folder: Path, *more: str, extra: str = "", **changes: str | None) -> str:
    """Run a wrong experiment; check that it was refused and that nothing was made."""
    out = folder / "out"
    path = toml(folder, extra, **changes)
    before = sorted(folder.rglob("*"))
    message = refused(asepsis("run", path, "--jobs", "1", "--out", str(out), *more))
    assert sorted(folder.rglob("*")) == before
    return message


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASEPSIS_DATA", str(tmp_path))
    monkeypatch.setenv("ASEPSIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASEPSIS_OFFLINE", "1")


@pytest.mark.parametrize(
    ("changes", "place", "got", "fix"),
    [
        ({"attack": '"imp"'}, "attack", "'imp'", "did you mean 'ipm'"),
        ({"attack": "{ epsilon = 1.0 }"}, "attack", "epsilon", 'write {name = "..."}'),
        ({"defenses": '["kurm"]'}, "defenses", "'kurm'", "did you mean 'krum'"),
        (
            {"observe": '[{ name = "attribute-inference", attribute = 99 }]'},
            "observe attribute-inference (attribute=99)",
            "got 99",
            "columns",
        ),
        (
            {"observe": '[{ name = "dlg", when = { starts_at = 99 } }]'},
            "observe[0].when.starts_at",
            "99",
            "use 0 to",
        ),
        ({"rounds": "3"}, "rounds", "", "did you mean 'federation.rounds'"),
        ({"trainer": '{ name = "sgd", lr = nan }'}, "trainer.lr", "nan", "finite number"),
        ({"trainer": '{ name = "sgd", lr = inf }'}, "trainer.lr", "inf", "finite number"),
        ({"trainer": '{ name = "sgd", lr = "0.1" }'}, "trainer.lr", "'0.1'", "valid number"),
        ({"trainer": '{ name = "sgd", steps = 2.5 }'}, "trainer.steps", "2.5", "integer"),
        ({"federation": "{ hospitals = true }"}, "federation.hospitals", "True", "integer"),
        ({"federation": "{ participation = nan }"}, "federation.participation", "nan", "finite"),
        ({"federation": "{ rounds = 0 }"}, "federation.rounds", "0", "greater than or equal to 1"),
        ({"threat": "{ hostile = true }"}, "threat.hostile", "True", "integer"),
        ({"threat": "{ hostile = 5 }"}, "threat.hostile", "5", "at most 4 of 5"),
        ({"threat": "{ hostile = 0 }"}, "threat.hostile", "0", "use at least 1"),
        ({"threat": "{ hostile = [7] }"}, "threat.hostile", "[7]", "numbered 0 to 4"),
        ({"threat": "{ hostile = 2, starts_at = 2 }"}, "threat.starts_at", "2", "use 0 to 1"),
        ({"defenses": '[{ name = "krum", f = 3 }]'}, "krum", "got 5", "largest f that fits is 1"),
        ({"defenses": '[{ name = "trimmed-mean", f = 3 }]'}, "trimmed-mean", "got 5", "is 2"),
        (
            {"defenses": '["secure-sum", "median"]'},
            "defenses",
            "median",
            "work behind it: dp-mean, mean",
        ),
        ({"partition": '{ name = "dirichlet", alpha = 1e-9 }'}, "partition", "0", "larger alpha"),
        ({"federation": "{ hospitals = 300 }"}, "partition", "hospital-0", "fewer hospitals"),
        ({"model": '"small-cnn"'}, "model", "SmallCnn", "leave it out"),
        ({"seeds": "[1, 1]"}, "seeds", "[1, 1]", "twice"),
        ({"seeds": '["1"]'}, "seeds.0", "'1'", "integer"),
        ({"seeds": "[0]", "seed": "4"}, "seed", "", "seeds = [...]"),
        ({"scenarios": "3"}, "scenarios", "3", "array"),
    ],
)
def test_a_wrong_experiment_is_refused(
    tmp_path: Path, changes: dict[str, str], place: str, got: str, fix: str
) -> None:
    message = refuse(tmp_path, **changes)
    assert place in message
    assert got in message
    assert fix in message


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ("attack = []", "over.attack: list should have at least 1 item"),
        ('attack = "ipm"', "over.attack: input should be a valid array; got 'ipm'"),
        ('attack = ["ipm", "ipm"]', "over.attack: a value stands there twice"),
        ('attack = ["ipm", "imp"]', "did you mean 'ipm'"),
        ("seed = [1, 2]", "seeds = [...]"),
        ('"partiton.alpha" = [1.0]', "did you mean 'partition'"),
        ('"trainer.lr" = [0.1, "fast"]', "trainer.lr: input should be a valid number; got 'fast'"),
    ],
)
def test_a_wrong_axis_is_refused(tmp_path: Path, over: str, says: str) -> None:
    assert says in refuse(tmp_path, extra=f"[over]\n{over}")


def test_every_problem_of_every_cell_is_told_at_once(tmp_path: Path) -> None:
    over = '[over]\ndefenses = [["mean"], [{ name = "krum", f = 3 }], [{ name = "bulyan", f = 2 }]]'
    message = refuse(tmp_path, extra=over, threat="{ hostile = 2 }")
    assert "krum with f = 3" in message
    assert "bulyan with f = 2" in message
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "federation.rounds"], "--set: not of the form key=value"),
        (["--set", "federations.rounds=3"], "did you mean 'federation'"),
        (["--set", "federation.rounds=many"], "federation.rounds: input should be a valid integer"),
        (["--engine", "thread"], "did you mean 'threads'"),
        (["--device", "toaster"], "--device: PyTorch has no such device here; got 'toaster'"),
        (["--device", "meta"], "--device"),
        (["--engine", "batched", "--set", "trainer.lr=-1.0"], "trainer.lr"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, words: list[str], says: str) -> None:
    assert says in refuse(tmp_path, *words)


@pytest.mark.parametrize("words", [["--jobs", "0"], ["--seeds", "0"], ["--seeds", "x"]])
def test_counts_are_counts(tmp_path: Path, words: list[str]) -> None:
    done = asepsis("run", toml(tmp_path), "--out", str(tmp_path / "out"), *words)
    assert done.code == 2
    assert words[0] in done.err
    assert not (tmp_path / "out").exists()


def test_a_sweep_needs_an_axis(tmp_path: Path) -> None:
    assert "--over attack=none,ipm" in refused(asepsis("sweep", toml(tmp_path)))
    assert "key=value,value" in refused(asepsis("sweep", toml(tmp_path), "--over", "attack"))


@pytest.mark.parametrize("out", ["mine.toml", "mine.toml/deeper/still"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, out: str) -> None:
    path = toml(tmp_path)
    text = Path(path).read_bytes()
    message = refused(asepsis("run", path, "--jobs", "1", "--out", str(tmp_path / out)))
    assert str(tmp_path / out) in message
    assert "--out DIR" in message
    assert [item.name for item in tmp_path.iterdir()] == ["mine.toml"]
    assert Path(path).read_bytes() == text


def test_a_missing_study_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    assert "did you mean 'quickstart'" in refused(asepsis("run", "quikstart"))
    assert "none.toml" in refused(asepsis("run", str(tmp_path / "none.toml")))
    assert str(tmp_path) in refused(asepsis("run", str(tmp_path)))


def test_a_missing_npz_is_refused(tmp_path: Path) -> None:
    dataset = f'{{ name = "npz", path = "{tmp_path}/none.npz" }}'
    message = refuse(tmp_path, dataset=dataset)
    assert message.startswith("dataset.path: there is no such file")
    assert "none" not in message  # a file's name may be a patient's


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and rubbish", b"\x00" * 4096])
def test_a_corrupt_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    message = refuse(tmp_path, dataset=f'{{ name = "npz", path = "{tmp_path}/bad.npz" }}')
    assert message.startswith("dataset.path: damaged")


def test_a_truncated_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    np.savez(path, images=np.zeros((40, 28, 28), np.uint8), labels=np.arange(40) % 2)
    path.write_bytes(path.read_bytes()[:-200])
    message = refuse(tmp_path, dataset=f'{{ name = "npz", path = "{path}" }}')
    assert message.startswith("dataset.path: damaged")


def test_an_npz_that_runs_code_on_loading_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pickle.npz"
    images = np.array([{"a": 1}] * 40, dtype=object)
    np.savez(path, images=images, labels=np.arange(40) % 2)
    message = refuse(tmp_path, dataset=f'{{ name = "npz", path = "{path}" }}')
    assert message.startswith("dataset.path: array 'images.npy' holds pickled Python objects")


def test_a_wrong_csv_column_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    lines = [f"{40 + i},{i % 3},{i % 2}" for i in range(60)]
    (tmp_path / "own.csv").write_text("\n".join(["age,sex,died", *lines]) + "\n")
    wrong = f'{{ name = "csv", path = "{tmp_path}/own.csv", target = "dead" }}'
    message = refuse(tmp_path, dataset=wrong)
    assert message.startswith("dataset.path: there is no such column")
    assert "dead" in message
    assert "died" in message


def test_a_data_set_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    message = refuse(tmp_path, dataset='"pathmnist"', attack=None)
    assert "ASEPSIS_OFFLINE" in message


def test_a_report_of_nothing_is_refused(tmp_path: Path) -> None:
    assert "no results here" in refused(asepsis("report", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"cells": [{}]}', "\x00", "[" * 99999])
def test_a_damaged_plan_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "study.json").write_text(content)
    message = refused(asepsis("report", str(tmp_path)))
    assert "study.json" in message
    assert "--resume" in message


@pytest.mark.parametrize("line", [b"{", b"5", b"\xff", b"[" * 99999])
def test_a_damaged_record_is_named(tmp_path: Path, line: bytes) -> None:
    out = tmp_path / "out"
    assert asepsis("run", toml(tmp_path), "--jobs", "1", "--out", str(out)).code == 0
    record = next((out / "runs").iterdir())
    lines = record.read_bytes().split(b"\n")
    record.write_bytes(b"\n".join([lines[0], line, *lines[2:]]))
    message = refused(asepsis("report", str(out)))
    assert record.name in message
    assert "line 2" in message
