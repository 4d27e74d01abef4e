"""No output knows a patient: the canary is planted in every input, and every byte is searched."""

from __future__ import annotations

import base64
import gzip
import json
import stat
from collections.abc import Callable
from pathlib import Path

import canary_inputs
import numpy as np
import pytest
import torch
from canary import NUMBER, PERSON, PIXELS, SITE, TEXT, found_below, found_in, marked
from cli_command import Done, asepsis
from safetensors.torch import save

PRIVATE = "<private>"
QUICK = ["--engine", "serial", "--jobs", "1"]
TABULAR = """
attack = {{ name = "label-flip" }}
threat = {{ hostile = 1, starts_at = 1 }}
observe = ["attribute-inference"]
"""
AUDITED = """
attack = {{ name = "label-flip" }}
threat = {{ hostile = 1 }}
observe = ["property-inference"]
defenses = ["median", "ledger"]
"""
IMAGED = """
over = {{ attack = ["badnets", "robbing-the-fed"] }}
threat = {{ hostile = 1, starts_at = 1 }}
observe = [{{ name = "model-inversion", steps = 5 }}]
model = "mlp"
"""
VOLUMES = """
attack = {{ name = "label-flip" }}
threat = {{ hostile = 1, starts_at = 1 }}
observe = [{{ name = "model-inversion", steps = 5 }}]
"""
COMMON = """
dataset = {dataset}
partition = "{partition}"
trainer = {{ name = "sgd", steps = 2 }}
federation = {{ hospitals = "all", rounds = 2 }}
"""


def study(folder: Path, dataset: str, extra: str, partition: str = "site") -> str:
    path = folder / "mine.toml"
    path.write_text((extra + COMMON).format(dataset=dataset, partition=partition))
    return str(path)


def ran(folder: Path, dataset: str, extra: str, *words: str) -> Done:
    done = asepsis(
        "run", study(folder, dataset, extra), "--out", str(folder / "out"), *QUICK, *words
    )
    assert done.code == 0, done.err
    return done


def said(done: Done) -> set[str]:
    return found_in((done.out + done.err).encode(), sites=True)


@pytest.mark.parametrize(
    ("made", "extra", "needs"),
    [
        (canary_inputs.table, TABULAR, ()),
        (canary_inputs.table, AUDITED, ()),
        (canary_inputs.arrays, IMAGED, ()),
        (canary_inputs.image_folder, IMAGED, ("PIL",)),
        (canary_inputs.dicom_folder, IMAGED, ("PIL", "pydicom")),
        (canary_inputs.nifti_folder, VOLUMES, ("nibabel",)),
    ],
    ids=["csv", "csv-ledger", "npz", "image-folder", "dicom-folder", "nifti-folder"],
)
def test_no_byte_of_a_patient_is_written(
    tmp_path: Path, made: Callable[[Path], str], extra: str, needs: tuple[str, ...]
) -> None:
    for package in needs:
        pytest.importorskip(package)
    (tmp_path / "elsewhere").mkdir()
    dataset = made(tmp_path / "elsewhere")
    done = ran(tmp_path, dataset, extra, "--pseudonyms", "--json")
    out = tmp_path / "out"
    assert said(done) == set()
    assert found_below(out, sites=True) == {}
    again = asepsis("report", str(out))
    assert again.code == 0
    assert said(again) == set()
    assert found_below(out, sites=True) == {}
    written = {path.name for path in out.rglob("*") if path.is_file()}
    assert {"study.json", "report.html"} <= written
    searched = ".jsonl" if extra == AUDITED else ".safetensors"
    assert any(name.endswith(searched) for name in written), "nothing was searched"


def test_the_same_search_finds_patients_who_are_shown_on_purpose(tmp_path: Path) -> None:
    dataset = canary_inputs.arrays(tmp_path)
    ran(tmp_path, dataset, IMAGED)
    out = tmp_path / "out"
    file = next(canary_inputs.place(tmp_path).glob("*.npz"))
    agreed = ["--include-patient-data", "--yes", "--data", str(file)]
    assert asepsis("report", str(out), *agreed).code == 0
    found = found_below(out)
    assert list(found) == ["report-with-patient-data.html"]
    assert "pixels" in found["report-with-patient-data.html"]
    page = (out / "report-with-patient-data.html").read_text()
    assert "patient data" in page.lower()


def test_nobody_is_shown_without_being_asked(tmp_path: Path) -> None:
    ran(tmp_path, canary_inputs.arrays(tmp_path), IMAGED)
    refused = asepsis("report", str(tmp_path / "out"), "--include-patient-data")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert not (tmp_path / "out" / "report-with-patient-data.html").exists()


def float_images() -> bytes:
    image = torch.tensor(marked(np.zeros((1, 28, 28), np.uint8)) / 127.5 - 1, dtype=torch.float32)
    return save({"reconstruction": image + 0.01})


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (f"P7: {TEXT.upper()}".encode(), TEXT),
        (TEXT.encode("utf-16-le"), TEXT),
        (gzip.compress(f"{PERSON}7".encode(), mtime=0), PERSON),
        (base64.b64encode(PERSON.encode()), PERSON),
        (json.dumps([float(NUMBER)]).encode(), "number"),
        (json.dumps(NUMBER / 1e8).encode(), "number"),
        (f"{NUMBER:,}".encode(), "number"),
        (save({"x": torch.tensor([1.0, NUMBER])}), "number"),
        (np.array([1.0, NUMBER]).tobytes(), "number"),
        (PIXELS.tobytes(), "pixels"),
        ((PIXELS.astype(int) + 3).clip(0, 255).astype(np.uint8).tobytes(), "pixels"),
        (float_images(), "pixels"),
    ],
    ids=[
        "capitals", "utf-16", "gzip", "base64", "json", "scaled", "commas", "safetensors",
        "doubles", "pixels", "brighter", "float images",
    ],
)  # fmt: skip
def test_the_search_finds_the_canary_however_it_is_written(content: bytes, name: str) -> None:
    assert name in found_in(content)


def test_the_search_finds_nothing_in_what_is_innocent() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 200_000).astype(np.uint8).tobytes()
    assert found_in(noise) == set()
    assert found_in(b"nothing of anybody, 719335 and 744") == set()


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    ran(tmp_path, canary_inputs.table(tmp_path), AUDITED)
    out = tmp_path / "out"
    modes = {
        path.relative_to(out).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in (out, *out.rglob("*"))
    }
    folders = {name for name in modes if (out / name).is_dir()}
    assert {name for name in folders if modes[name] != 0o700} == set()
    assert {name for name in modes if name not in folders and modes[name] != 0o600} == set()
    assert {".lock", "report.html", "study.json"} <= set(modes)


def test_a_private_run_is_resumed_and_reported_as_any_other(tmp_path: Path) -> None:
    dataset = canary_inputs.table(tmp_path)
    ran(tmp_path, dataset, AUDITED)
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in (out / "runs").iterdir()}
    ran(tmp_path, dataset, AUDITED, "--resume")
    assert {path: path.read_bytes() for path in (out / "runs").iterdir()} == before
    header = json.loads(next(iter(before.values())).split(b"\n")[0])["result"]
    assert header["spec"]["dataset"]["path"] == PRIVATE
    assert header["screened"] is True
    assert asepsis("ledger", "verify", str(out)).code == 0


def test_pseudonyms_change_names_and_nothing_else(tmp_path: Path) -> None:
    dataset = canary_inputs.table(tmp_path)
    heads, figures = [], []
    for name, words in (("plain", ()), ("hidden", ("--pseudonyms",))):
        (tmp_path / name).mkdir()
        ran(tmp_path / name, dataset, AUDITED, *words)
        records = sorted((tmp_path / name / "out" / "runs").iterdir())
        lines = [json.loads(line) for path in records for line in path.read_text().splitlines()]
        heads.append([line["result"] for line in lines if line["type"] == "header"])
        figures.append([str(line["result"]) for line in lines if line["type"] == "round"])
    plain, hidden = heads
    assert figures[0] == figures[1]
    assert [head["protocol"] for head in plain] == [head["protocol"] for head in hidden]
    assert [head["digest"] for head in plain] == [head["digest"] for head in hidden]
    assert plain[0]["resolved"]["hospitals"] == ["Alder", "Birch", SITE]
    assert hidden[0]["resolved"]["hospitals"] == ["site 1", "site 2", "site 3"]
    assert found_below(tmp_path / "hidden" / "out", sites=True) == {}
    assert SITE in (tmp_path / "plain" / "out" / "report.html").read_text()
    shown = asepsis("report", str(tmp_path / "plain" / "out"), "--pseudonyms")
    assert said(shown) == set()
    assert SITE not in (tmp_path / "plain" / "out" / "report.html").read_text()


def test_one_folder_knows_sites_by_one_name(tmp_path: Path) -> None:
    dataset = canary_inputs.table(tmp_path)
    ran(tmp_path, dataset, AUDITED)
    words = ["--out", str(tmp_path / "out"), "--resume", "--pseudonyms", *QUICK]
    done = asepsis("run", study(tmp_path, dataset, AUDITED), *words)
    assert done.code == 2
    assert "call the sites otherwise" in done.err


def test_the_hospital_that_takes_no_part_has_a_pseudonym_too(tmp_path: Path) -> None:
    dataset = canary_inputs.table(tmp_path)
    extra = f'seeds = [0]\nover = {{ "federation.unseen" = ["{SITE}", "Alder"] }}\n'
    path = study(tmp_path, dataset, extra.replace("{", "{{").replace("}", "}}"))
    words = ["--out", str(tmp_path / "out"), "--pseudonyms", *QUICK]
    done = asepsis("run", path, *words)
    assert done.code == 0, done.err
    assert said(done) == set()
    assert found_below(tmp_path / "out", sites=True) == {}


def test_errors_about_sites_use_their_pseudonyms(tmp_path: Path) -> None:
    dataset = canary_inputs.table(tmp_path)
    path = study(tmp_path, dataset, 'partition = "site"\n'.replace("partition", "model = 'mlp'\n#"))
    text = (
        Path(path)
        .read_text()
        .replace('hospitals = "all"', f'hospitals = "all", unseen = "{SITE}x"')
    )
    Path(path).write_text(text)
    done = asepsis("run", path, "--out", str(tmp_path / "out"), "--pseudonyms", *QUICK)
    assert done.code == 2
    assert "site 1" in done.err
    assert "Alder" not in done.err


def test_studies_that_differ_in_their_files_stay_apart(tmp_path: Path) -> None:
    first = canary_inputs.table(tmp_path)
    (tmp_path / "b").mkdir()
    second = canary_inputs.table(tmp_path / "b", rows=150)
    extra = (
        f"over = {{ dataset = [{first}, {second}] }}\nattack = 'ipm'\nthreat = {{ hostile = 1 }}\n"
    )
    done = ran(tmp_path, '"breast-cancer"', extra.replace("{", "{{").replace("}", "}}"))
    assert said(done) == set()
    assert found_below(tmp_path / "out") == {}
    from asepsis.experiments.results import load_results

    results = load_results(tmp_path / "out")
    assert len(results.runs) == 4
    assert len(results.groups()) == 4
    assert len({run.resolved["data"] for run in results.runs}) == 2


def test_small_groups_are_not_counted(tmp_path: Path) -> None:
    ran(tmp_path, canary_inputs.table(tmp_path, rows=100), AUDITED)
    record = next((tmp_path / "out" / "runs").iterdir())
    samples = json.loads(record.read_text().splitlines()[0])["result"]["resolved"]["samples"]
    assert all(train >= 10 for train, _, _ in samples)
    assert all(validation is None for _, validation, _ in samples)
    assert "&lt;10" in (tmp_path / "out" / "report.html").read_text()
