"""Everything that asepsis reads back, in one list for every way of fuzzing it.

A target is a place for the content below an empty folder, what else has to lie there, and the
reader. Whatever the content, a reader returns or raises an :class:`AsepsisError`: nothing else.
Messages of Flower are among them where Flower is installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import examples
import readers
import wire

from asepsis.core.errors import AsepsisError, shown
from asepsis.defenses.audit.proof import read_kept
from asepsis.experiments.plan import load_study

LONGEST = 100_000
"""No message is longer: fifty problems of an experiment are told at most."""


def nothing(folder: Path) -> None:
    """Lay nothing else into the folder."""


@dataclass(frozen=True)
class Target:
    """One kind of file: valid examples of its content, and what reads it.

    ``file`` is its place below a folder; ``wrap`` makes the file of the content (an archive with a
    sound checksum, so that what is inside is reached); ``around`` lays out what else is needed;
    ``form`` says what structure its text has.
    """

    name: str
    file: str
    corpus: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    wrap: Callable[[bytes], bytes] = bytes
    around: Callable[[Path], None] = nothing
    form: str = ""

    def lay(self, folder: Path) -> Path:
        """Lay everything but the file itself into an empty folder; return the file's place."""
        self.around(folder)
        name = self.file
        for part in ("runs", "ledgers"):  # a record's name is its run's hash
            name = name.replace(
                f"<{part}>", examples.named(f"{part}/") if f"<{part}>" in name else ""
            )
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def attempt(self, place: Path) -> str:
        """Read what lies there; return what was refused, nothing where it was read."""
        try:
            self.read(place)
        except AsepsisError as error:
            refused = error
        else:
            return ""
        told = shown(refused)
        assert refused.message.strip(), f"{type(refused).__name__} says nothing"
        assert "MemoryError" not in told, told
        assert len(told) < LONGEST, f"a message of {len(told)} characters"
        return told


TARGETS: tuple[Target, ...] = (
    Target(
        "experiment", "mine.toml", examples.experiments, lambda p: load_study(str(p)), form="toml"
    ),
    Target(
        "assessment",
        "federation.toml",
        lambda: [examples.ASSESSMENT],
        readers.assessment,
        form="toml",
    ),
    Target(
        "setting",
        "setting",
        lambda: [b"[1, 2.5]", b'{ a = "b" }', b"1979-05-27", b"nan"],
        readers.setting,
    ),
    Target("record", "run.jsonl", examples.kept("runs/"), readers.record, form="jsonl"),
    Target(
        "results-record",
        "results/<runs>",
        examples.kept("runs/"),
        readers.folder,
        around=readers.folder_around,
        form="jsonl",
    ),
    Target(
        "results-plan",
        "results/study.json",
        examples.kept("study.json"),
        readers.plan,
        around=readers.folder_around,
        form="json",
    ),
    Target(
        "devices",
        "devices.json",
        lambda: [b'{"costs": [{"scenario": "a", "defense": "b", "digest": "c", "code": "d"}]}'],
        readers.devices,
        form="json",
    ),
    Target(
        "diary",
        "assessed/progress.json",
        lambda: [json.dumps(examples.DIARY).encode()],
        readers.diary,
        around=readers.diary_around,
        form="json",
    ),
    Target(
        "outcome",
        "assessed/assessment.json",
        lambda: [json.dumps(examples.DIARY).encode()],
        readers.diary,
        around=readers.diary_around,
        form="json",
    ),
    Target("checkpoint", "a.safetensors", examples.tensors, readers.checkpoint, form="safetensors"),
    Target("weights", "a.safetensors", examples.tensors, readers.weights, form="safetensors"),
    Target(
        "described-safetensors",
        "a.safetensors",
        examples.tensors,
        readers.described,
        form="safetensors",
    ),
    Target("described-torchscript", "a.pt", lambda: [examples.scripted()], readers.described),
    Target(
        "described-pickle",
        "a.pt",
        examples.script_pickles,
        readers.described,
        wrap=examples.with_pickle,
    ),
    Target("described-onnx", "a.onnx", examples.onnx, readers.described),
    Target("ledger", "ledger.jsonl", examples.kept("ledgers/"), readers.ledger, form="jsonl"),
    Target(
        "ledger-rehashed",
        "ledger.jsonl",
        examples.kept("ledgers/"),
        readers.ledger,
        wrap=readers.rehashed,
        form="jsonl",
    ),
    Target(
        "run-record",
        "results/<runs>",
        examples.kept("runs/"),
        readers.run_ledger,
        around=readers.folder_around,
        form="jsonl",
    ),
    Target(
        "run-ledger",
        "results/<ledgers>",
        examples.kept("ledgers/"),
        readers.run_ledger,
        wrap=readers.rehashed,
        around=readers.folder_around,
        form="jsonl",
    ),
    Target("proof", "proof.json", examples.proofs, readers.proof, form="json"),
    Target("head", "head.json", examples.heads, read_kept, form="json"),
    Target("key", "key.pem", examples.keys, readers.key),
    Target("messages", "message", readers.all_messages, readers.message),
    Target("npz", "a.npz", examples.archives, readers.npz),
    Target("npz-array", "a.npz", examples.arrays, readers.npz, wrap=examples.with_array),
    Target("npz-dataset", "a.npz", examples.archives, readers.dataset("npz")),
    Target(
        "npz-dataset-array",
        "a.npz",
        examples.arrays,
        readers.dataset("npz"),
        wrap=examples.with_array,
    ),
    Target("npy", "a.npy", examples.arrays, readers.stored),
    Target("csv", "a.csv", examples.csvs, readers.csv, form="csv"),
    Target("csv-dataset", "a.csv", examples.csvs, readers.dataset("csv"), form="csv"),
    Target(
        "isic",
        "images/isic.csv",
        examples.isic,
        readers.dataset("isic-folder", up=1, partial=True, size=8),
        around=readers.images_around,
        form="csv",
    ),
    Target(
        "heart-disease",
        "processed.va.data",
        examples.hearts,
        readers.dataset("heart-disease", up=1),
        around=readers.hearts_around,
        form="csv",
    ),
    Target(
        "image-folder",
        "images/ill/x.png",
        examples.pictures,
        readers.dataset("image-folder", up=2, size=8),
        around=readers.images_around,
    ),
    Target("nifti", "a.nii", examples.nifti, readers.scan),
    Target("nifti-gz", "a.nii.gz", examples.nifti, readers.scan, wrap=examples.packed),
    Target(
        "nifti-gz-raw",
        "a.nii.gz",
        lambda: [examples.packed(x) for x in examples.nifti()],
        readers.scan,
    ),
    Target(
        "nifti-folder",
        "images/ill/a.nii",
        examples.nifti,
        readers.dataset("nifti-folder", up=2, size=8),
        around=readers.scans_around,
    ),
    Target("dicom", "a.dcm", examples.dicom, readers.dicom_image),
    Target(
        "dicom-folder",
        "images/ill/a.dcm",
        examples.dicom,
        readers.dataset("dicom-folder", up=2, size=8),
        around=readers.scans_around,
    ),
    Target("invitation", "message", wire.invitations, wire.invitation),
    *((Target("flower", "message", wire.messages, wire.message),) if find_spec("flwr") else ()),
)
