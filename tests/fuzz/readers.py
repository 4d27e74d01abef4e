"""What reads each kind of file, as the commands do, and what else has to lie beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import examples
import numpy as np

from asepsis.assess.diary import Diary
from asepsis.assess.spec import load_assessment
from asepsis.cli.model import read as read_model
from asepsis.cli.results import _value
from asepsis.core.errors import AsepsisError
from asepsis.core.registry import build
from asepsis.data.dicom import grays, read_dicom
from asepsis.data.files import forget
from asepsis.data.guarded import load_guarded
from asepsis.data.nifti import read_scan, upright
from asepsis.data.npz import keys_of, read_npz
from asepsis.data.tables import read_csv, read_header
from asepsis.defenses.audit.canonical import decode, encode
from asepsis.defenses.audit.keys import public_key, read_key
from asepsis.defenses.audit.merkle import leaf_hash
from asepsis.defenses.audit.proof import check_proof, prove, read_kept
from asepsis.defenses.audit.verify import verify_ledger
from asepsis.defenses.masking import messages
from asepsis.defenses.stored import stored_rows
from asepsis.experiments.device_table import read_devices
from asepsis.experiments.folders import load_all
from asepsis.experiments.kept import read_state
from asepsis.experiments.ledgers import record_hash, verify_run
from asepsis.experiments.purge import plan_purge
from asepsis.experiments.store import Store, footer_of, read_record, read_tensors, rounds_of
from asepsis.models.user_weights import load_weights, weights_digest, weights_file
from asepsis.report.leaderboard import leaderboard
from asepsis.report.shelf_assessments import assessments
from asepsis.report.shelf_pages import Shelf, index_page, run_page, study_page


def assessment(place: Path) -> None:
    load_assessment(place).feared()


def setting(place: Path) -> None:
    _value(place.read_bytes().decode(errors="surrogateescape"))


def record(place: Path) -> None:
    lines = read_record(place)
    rounds_of(lines), footer_of(lines), record_hash(lines)


def folder_around(folder: Path) -> None:
    for name, content in examples.results().items():
        place = folder / "results" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def folder(place: Path) -> None:
    """Read a results folder as the commands do that are given one."""
    root = next(one for one in place.parents if one.name == "results")
    found = load_all(root)
    leaderboard(found, None, ())
    shelf = Shelf(root)
    index_page(shelf, "/")
    for study in shelf.studies().values():
        if study.results is not None:
            study_page(study, "/"), run_page(study, 0, "/")


def plan(place: Path) -> None:
    folder(place)
    plan_purge(place.parent)


def devices(place: Path) -> None:
    read_devices(Store(place.parent))


def diary_around(folder: Path) -> None:
    (folder / "assessed").mkdir()
    for name in ("progress.json", "assessment.json"):
        (folder / "assessed" / name).write_text(json.dumps(examples.DIARY))
    (folder / "assessed" / "today").mkdir()


def diary(place: Path) -> None:
    assessments([place.parent / "today"], place.parent.parent)
    if place.name == "progress.json":
        Diary.of(place, str(examples.DIARY["asked"]), True)
        plan_purge(place.parent)


def ledger(place: Path) -> None:
    verify_ledger(place), verify_ledger(place, anchor=(3, bytes(32)), public=bytes(32))
    for asked in ({"entry": 1}, {"since": 2}):
        try:
            prove(place, **asked)
        except AsepsisError:
            continue


def rehashed(content: bytes) -> bytes:
    """Return a ledger whose entries have their own hashes again, where they can be read."""
    lines = []
    for line in content.split(b"\n"):
        try:
            value = json.loads(line)
            value["leaf"] = leaf_hash(encode(value["entry"])).hex()
            lines.append(encode(value))
            decode(lines[-1])
        except (ValueError, TypeError, KeyError, RecursionError):
            lines.append(line)
    return b"\n".join(lines)


def run_ledger(place: Path) -> None:
    verify_run(Store(place.parent.parent))


def proof(place: Path) -> None:
    kept = read_kept_or_none(place)
    check_proof(place.read_bytes(), kept=kept), check_proof(place.read_bytes(), public=bytes(32))


def read_kept_or_none(place: Path) -> Any:
    """Return the head that is kept there, if it is one."""
    try:
        return read_kept(place)
    except AsepsisError:
        return None


def key(place: Path) -> None:
    os.chmod(place, 0o600)
    try:
        public_key(place.read_bytes(), "key")
    except AsepsisError:
        read_key(str(place))


def checkpoint(place: Path) -> None:
    read_tensors(place), read_state(place)


def weights(place: Path) -> None:
    file = weights_file(str(place))
    load_weights(examples.network(), file, weights_digest(file))


def described(place: Path) -> None:
    found = read_model(place)
    found.findings()
    for layer in found.layers:
        layer.count(learned=True)


KINDS = (
    messages.Advertisement,
    messages.Sealed,
    messages.Survivor,
    messages.Consent,
    messages.Share,
)


def message(place: Path) -> None:
    content = place.read_bytes()
    for kind in KINDS:
        try:
            found = kind.unpack(content, 4)
            assert b"".join(one.pack() for one in found) == content
        except AsepsisError:
            continue
    for dtype in (np.dtype(np.uint32), np.dtype(np.uint64)):
        for count in (0, 4):
            try:
                assert len(messages.unpack_words(content, count, dtype)) == count
            except AsepsisError:
                continue


def all_messages() -> list[bytes]:
    return [bytes(range(256))[: kind.layout.size] * 2 for kind in KINDS] + [
        b"",
        bytes(16),
        bytes(32),
    ]


def dataset(name: str, option: str = "path", up: int = 0, **options: Any) -> Callable[[Path], None]:
    """Return what loads a data set from the file, or from the folder so many above it."""

    def load(place: Path) -> None:
        forget()
        given = place if not up else place.parents[up - 1]
        load_guarded(build("dataset", {"name": name, option: str(given), **options}))

    return load


def npz(place: Path) -> None:
    keys_of(place), read_npz(place)


def stored(place: Path) -> None:
    rows = stored_rows(place)
    if rows.shape[0] * rows.shape[1] < 10_000:
        for row in range(rows.shape[0]):
            rows.row(row)


def csv(place: Path) -> None:
    read_header(place)
    for as_text in (True, False):
        try:
            read_csv(place, as_text=as_text)
        except AsepsisError:
            continue


def scan(place: Path) -> None:
    upright(read_scan(place, "a volume"))


def dicom_image(place: Path) -> None:
    grays(read_dicom(place, "an image"), None, 8)


def images_around(folder: Path) -> None:
    for number, name in enumerate(("ill/a.png", "well/b.png", "well/c.png")):
        place = folder / "images" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(examples.pictures()[0] + bytes(number))


def scans_around(folder: Path) -> None:
    (folder / "images" / "well").mkdir(parents=True)
    (folder / "images" / "well" / "b.nii").write_bytes(examples.nifti()[0])
    (folder / "images" / "well" / "b.dcm").write_bytes(examples.dicom()[0])


def hearts_around(folder: Path) -> None:
    for name in ("cleveland", "hungarian", "switzerland", "va"):
        (folder / f"processed.{name}.data").write_bytes(examples.hearts()[0])
