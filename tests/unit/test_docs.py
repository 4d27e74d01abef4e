"""What the documents show is true: their TOML is valid, their Python runs, their names exist."""

from __future__ import annotations

import ast
import doctest
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.assess.setting import setting_of
from asepsis.assess.spec import assessment_of
from asepsis.core.registry import build, entries, unregister
from asepsis.experiments.plan import plan_study, study_from
from asepsis.experiments.resolve import resolve
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.sifting import sifted
from asepsis.experiments.spec import Experiment, parse
from asepsis.federation.build import assemble
from asepsis.testing import check_update_attack

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "asepsis"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIAL = ROOT / "docs" / "tutorials" / "researcher.md"
STANDS_IN = {"pneumoniamnist": "phantom", "heart-disease": None}
IMPORTS = """
from collections.abc import Mapping
from typing import Annotated, ClassVar
import numpy as np
from pydantic import Field
from torch import Tensor
from asepsis.core.registry import register
from asepsis.core.threat import ClientView, Sees
from asepsis.core.updates import State
"""
FENCE = re.compile(r"(<!-- not run -->\n+)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str, pages: Sequence[Path] = PAGES) -> list[object]:
    """Return every block of a language as a test parameter, named by page and place."""
    return [
        pytest.param(found[3], id=f"{page.stem}-{number}")
        for page in pages
        for number, found in enumerate(FENCE.finditer(page.read_text(encoding="utf-8")))
        if found[2] == language and not found[1]
    ]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, with no data and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASEPSIS_OFFLINE", "1")
    monkeypatch.setenv("ASEPSIS_CACHE", str(tmp_path))
    monkeypatch.delenv("ASEPSIS_DATA", raising=False)


def run(program: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a program as if it stood in a file of its own, or went on there; return its names."""
    names = {"__name__": "shown"} if names is None else names
    exec(compile(program, "<documentation>", "exec", dont_inherit=True), names)
    return names


def write_own_data(folder: Path) -> None:
    """Write the files that the page on experiments calls the reader's own."""
    image = pytest.importorskip("PIL.Image")
    n, rng = 90, np.random.default_rng(0)
    labels, sites = np.arange(n) % 2, np.repeat(["north", "south", "west"], n // 3)
    images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
    patients = np.arange(n)
    np.savez(folder / "mine.npz", images=images, labels=labels, hospital=sites, patient=patients)
    rows = [f"{i % 7},{i % 2},{sites[i]},p{i},text {i}" for i in range(n)]
    (folder / "mine.csv").write_text("\n".join(["age,died,hospital,patient,comment", *rows]))
    for i in range(n):
        place = folder / "xrays" / str(sites[i]) / ("ill" if labels[i] else "well")
        place.mkdir(parents=True, exist_ok=True)
        image.fromarray(images[i]).save(place / f"{i}_0.png")
    write_volumes(folder / "brain", rng)
    rows = [f"ISIC_{i},{('benign', 'malignant')[i % 2]},L{i},{sites[i]}" for i in range(n)]
    (folder / "isic").mkdir()
    head = "isic_id,benign_malignant,lesion_id,attribution"
    (folder / "isic" / "metadata.csv").write_text("\n".join([head, *rows]))
    for i in range(n):
        image.fromarray(images[i]).save(folder / "isic" / f"ISIC_{i}.jpg")


def write_volumes(root: Path, rng: np.random.Generator) -> None:
    """Write MR and CT volumes of three hospitals with ten patients each."""
    nifti = pytest.importorskip("nibabel")
    body = np.zeros((10, 10, 10), np.uint8)
    body[1:9, 1:9, 1:9] = 1
    for number in range(30):
        place = root / f"hospital-{number % 3}" / f"patient-{number}"
        place.mkdir(parents=True)
        ct = np.where(body, rng.integers(-100, 900, body.shape), -1000).astype(np.int16)
        for name, values in (("mr", ct.astype(np.float32)), ("ct", ct), ("mask", body)):
            nifti.save(nifti.Nifti1Image(values, np.eye(4)), place / f"{name}.nii.gz")


def write_scans(folder: Path, rng: np.random.Generator) -> None:
    """Write DICOM images and NIfTI volumes of three hospitals and two classes."""
    nifti, dicom = pytest.importorskip("nibabel"), pytest.importorskip("pydicom")
    rows = ["file,label"]
    for number in range(90):
        site, label = ("north", "south", "west")[number % 3], ("ill", "well")[number // 3 % 2]
        pixels = rng.integers(0, 2000, (16, 16), dtype=np.uint16)
        data = dicom.Dataset()
        data.file_meta = dicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = dicom.uid.ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        data.PatientID, data.PhotometricInterpretation = f"P{number}", "MONOCHROME2"
        data.Rows = data.Columns = data.BitsAllocated = data.BitsStored = 16
        data.SamplesPerPixel, data.HighBit, data.PixelRepresentation = 1, 15, 0
        data.PixelData = pixels.tobytes()
        rows.append(f"{number}.dcm,{label}")
        for place in (folder / "ct" / site / label, folder / "ct-by-site" / site):
            place.mkdir(parents=True, exist_ok=True)
            data.save_as(place / f"{number}.dcm", enforce_file_format=True)
        place = folder / "mri" / site / label
        place.mkdir(parents=True, exist_ok=True)
        volume = rng.integers(0, 900, (8, 8, 8)).astype(np.int16)
        nifti.save(nifti.Nifti1Image(volume, np.eye(4)), place / f"{number}.nii.gz")
    (folder / "labels.csv").write_text("\n".join(rows))


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_experiment_shown_fits_together(text: str, tmp_path: Path) -> None:
    write_own_data(tmp_path)
    if "dicom-folder" in text or "nifti-folder" in text:
        write_scans(tmp_path, np.random.default_rng(0))
    if "data" in (table := tomllib.loads(text)):
        asked = assessment_of(table)
        if STANDS_IN.get(asked.data["name"], "") is not None:  # else the file may be missing
            setting_of(asked)
        return
    cells = sifted(plan_study(study_from(table, "shown")), "serial").cells
    for spec in {cell.scenario: cell.spec for cell in cells}.values():
        name = STANDS_IN.get(spec.dataset["name"], spec.dataset["name"])
        if name is not None:
            dataset = {**spec.dataset, "name": name}
            assemble(resolve(spec.model_copy(update={"dataset": dataset}))[0])


@pytest.mark.parametrize("text", blocks("python", [page for page in PAGES if page != TUTORIAL]))
def test_every_program_shown_runs(text: str) -> None:
    run(text)


def test_the_tutorial_for_researchers_runs_from_top_to_bottom() -> None:
    page = TUTORIAL.read_text(encoding="utf-8")
    programs = [found[3] for found in FENCE.finditer(page) if found[2] == "python"]
    assert len(programs) > 5
    own = {(kind, name) for kind, name in re.findall(r'@register\("([\w-]+)", "([\w-]+)"\)', page)}
    assert {kind for kind, _ in own} == {"attack", "aggregator", "task"}
    names: dict[str, Any] = {"__name__": "shown"}
    try:
        for program in programs:
            run(program, names)
    finally:
        for kind, name in own:
            unregister(kind, name)
    assert names["results"].frame()["status"].eq("success").all()


def test_the_map_names_files_and_functions_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.py)::(\w+)", page)) - {("file.py", "name")}
    assert len(named) > 30
    for path, name in named:
        tree = ast.parse((SOURCES / path).read_text(encoding="utf-8"))
        defined = {getattr(node, "name", None) for node in tree.body}
        assert name in defined, f"{path}::{name}"


def test_the_map_names_files_in_their_rooms() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for line in page.splitlines():
        if row := re.match(r"\| ((?:`\w+`(?:, )?)+) \| (.*) \|$", line):
            rooms = re.findall(r"`(\w+)`", row[1])
            for name in re.findall(r"`([\w/]+(?:\.py|/))`", row[2]):
                assert any((SOURCES / room / name).exists() for room in rooms), name


def test_the_attack_that_contributors_are_shown_keeps_its_promises() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (shown,) = [found[3] for found in FENCE.finditer(page) if found[2] == "python"]
    try:
        names = run(IMPORTS + shown)
        attack = build("attack", {"name": "mirror", "factor": 2.0})
        check_update_attack(attack)
        examples = doctest.DocTestParser().get_doctest(
            names["Mirror"].__doc__, names, "Mirror", None, None
        )
        assert examples.examples
        assert doctest.DocTestRunner().run(examples).failed == 0
    finally:
        unregister("attack", "mirror")
    assert "mirror" not in [entry.name for entry in entries("attack")]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def keys_told(page: str, heading: str) -> set[tuple[str, str]]:
    """Return the (part, key) pairs of the table under a heading."""
    section = page.split(f"### {heading}\n")[1].split("\n#")[0]
    return {(part, key) for key, part in re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.M)}


def test_the_page_on_records_names_every_key_and_no_other() -> None:
    page = (ROOT / "docs" / "records.md").read_text(encoding="utf-8")
    table = {
        "dataset": "breast-cancer",
        "trainer": {"name": "sgd", "batch_size": 1, "steps": 1},
        "federation": {"rounds": 1},
        "attack": {"name": "dlg", "iterations": 1},
    }
    spec: Experiment = parse(Experiment, table)
    lines = run_experiment(spec, options=RunOptions(engine="serial"))
    for heading, line in zip(("Header", "Round", "Footer"), lines, strict=True):
        found = {(part, key) for part in ("result", "observed") for key in line[part]}
        assert keys_told(page, heading) == found, heading
    told = page.split("### Header")[1].split("### Round")[0]
    assert all(f"`{key}`" in told for key in lines[0]["result"]["resolved"])


def test_the_threat_model_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page))
    assert len(named) > 50
    assert len(re.findall(r"`tests/", page)) == len(
        re.findall(r"`tests/[\w/]+\.py::test_\w+`", page)
    )
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {getattr(node, "name", None) for node in tree.body}, f"{path}::{name}"


def test_every_threat_has_its_row_filled() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| [A-Z] \|", line)]
    assert {row[2] for row in rows} == set("STRIDE")
    for row in rows:
        _, _, threat, stops, remains, _ = (cell.strip() for cell in row.split("|"))
        assert threat, row
        assert stops or "not stopped" in remains, row
