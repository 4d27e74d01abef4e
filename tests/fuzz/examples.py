"""Valid files of every kind that asepsis reads back, made in code: what fuzzing starts from."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

import asepsis
from asepsis.core.rng import building_modules
from asepsis.defenses.audit.proof import prove
from asepsis.experiments.library import profiles, studies, study_text

EXPERIMENT = b"""# an experiment
name = "mine"
dataset = { name = "csv", path = "mine.csv", target = 'ill' }
partition.alpha = 0.5
partition.name = "dirichlet"
defenses = ["median", { name = "krum", f = 1 }]
attack = "ipm"
seeds = [0, 1, 0x2]
[federation]
hospitals = 10
dropout = 1e-1
[threat]
hostile = 2
[over]
"trainer.lr" = [0.1, 0.01]
"""
ASSESSMENT = b"""threats = "all"
hostile = 1
data = "heart-disease"
defenses = ["median", "mean"]
also = [["krum", "ledger"]]
[limits]
utility = 2.0
[federation]
rounds = 5
"""
DIARY = {
    "asked": "00ff",
    "spent": 1.5,
    "decisions": {"rate": {"mean": [0.1, None]}, "final": "median"},
    "answer": "pass",
    "name": "mine",
    "judged": "median",
}


@cache
def results() -> dict[str, bytes]:
    """Return the files of a small study: an attacked run and its twin, each with a ledger."""
    table = {
        "name": "small",
        "dataset": {"name": "phantom", "n": 80},
        "model": "logistic",
        "attack": "ipm",
        "threat": {"hostile": 1, "starts_at": 1},
        "federation": {"rounds": 2, "hospitals": 4},
        "defenses": ["median", "ledger"],
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "results"
        made = asepsis.run(table, out=place, engine="serial")
        ended = [(run.footer["status"], run.footer.get("message", "")) for run in made.runs]
        assert ended == [("success", "")] * 2, ended
        files = [path for path in sorted(place.rglob("*")) if path.is_file()]
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def named(part: str) -> str:
    """Return the name of the first file in a part of the results folder."""
    return next(name for name in results() if name.startswith(part))


def kept(part: str) -> Callable[[], list[bytes]]:
    """Return the files in a part of the results folder."""
    return lambda: [content for name, content in results().items() if name.startswith(part)]


def experiments() -> list[bytes]:
    """Return built-in studies, and one that uses what TOML has."""
    texts = [study_text(name, profiles(name)[0])[0].encode() for name in studies()]
    return [EXPERIMENT, *sorted(texts, key=len)[:3]]


def proofs() -> list[bytes]:
    """Return one proof of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "ledger.jsonl"
        place.write_bytes(results()[named("ledgers/")])
        found = [prove(place, entry=3), prove(place, since=2)]
    return [json.dumps(proof).encode() for proof in found]


def heads() -> list[bytes]:
    """Return the last line of a ledger."""
    return [results()[named("ledgers/")].splitlines()[-1]]


def keys() -> list[bytes]:
    """Return private and public keys."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = form.Encoding.PEM
    private = key.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo)
    return [private, public, b"0f" * 32 + b"\n"]


def tensors() -> list[bytes]:
    """Return checkpoints: named tensors of several types."""
    state = {"row": torch.ones(4), "round": torch.tensor(2), "server/m": torch.zeros(2, 2)}
    odd = {"empty": torch.zeros(0, 3), "half": torch.ones(3, dtype=torch.bfloat16)}
    return [save(state), save({**state, **odd}), save(network().state_dict())]


def network() -> nn.Sequential:
    """Return a small network."""
    with building_modules(0):
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))


@cache
def scripted() -> bytes:
    """Return a TorchScript archive."""
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network()), made)
    return made.getvalue()


def script_pickles() -> list[bytes]:
    """Return the pickle inside a TorchScript archive."""
    with zipfile.ZipFile(io.BytesIO(scripted())) as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl")]


def with_pickle(content: bytes) -> bytes:
    """Return a TorchScript archive with another pickle inside."""
    return zipped({"net/data.pkl": content, "net/code/__torch__.py": b""})


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return made.getvalue()


def field(number: int, content: int | bytes) -> bytes:
    """Return a field of a protobuf message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it."""
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def onnx() -> list[bytes]:
    """Return an ONNX model of one layer."""
    shape = field(2, field(1, field(2, b"batch")) + field(1, field(1, 300)))
    told = field(1, b"x") + field(2, field(1, field(1, 1) + shape))
    weights = field(1, 300) + field(1, 5) + field(8, b"w") + field(9, bytes(12))
    node = field(1, b"x") + field(1, b"w") + field(3, b"first") + field(4, b"Gemm")
    graph = field(1, node) + field(5, weights) + field(11, told) + field(12, told)
    return [field(1, 8) + field(2, b"made by hand") + field(7, graph)]


def npy(array: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    """Return an array as a NumPy file."""
    made = io.BytesIO()
    np.lib.format.write_array(made, np.asarray(array), version, allow_pickle=False)
    return made.getvalue()


def arrays() -> list[bytes]:
    """Return NumPy files of several types."""
    pairs = np.zeros(2, [("a", "<f4"), ("b", "U3", (2,))])
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    return [
        npy(matrix),
        npy(np.asfortranarray(matrix)),
        npy(["ill", "well"], (2, 0)),
        npy(pairs, (3, 0)),
        npy(np.zeros((2, 8, 8), np.uint8)),
    ]


def archives() -> list[bytes]:
    """Return ``.npz`` files of images, of tables, and of an official split."""
    images = {"images.npy": npy(np.zeros((4, 8, 8), np.uint8)), "labels.npy": npy([0, 1, 0, 1])}
    table = {"images.npy": npy(np.ones((4, 3))), "labels.npy": npy(["a", "b", "a", "b"])}
    parts = {
        f"{part}_{name}": content
        for part in ("train", "val", "test")
        for name, content in images.items()
    }
    return [
        zipped(images),
        zipped(table, zipfile.ZIP_STORED),
        zipped(parts),
        zipped(images, zipfile.ZIP_LZMA),
        zipped(images, zipfile.ZIP_BZIP2),
    ]


def with_array(content: bytes) -> bytes:
    """Return an ``.npz`` file whose images are these bytes, and true to its checksum."""
    return zipped({"images.npy": content, "labels.npy": npy([0, 1])}, zipfile.ZIP_STORED)


def csvs() -> list[bytes]:
    """Return tables."""
    return [
        b"age,sex,target\n50,m,1\n61,f,0\n?,m,1\n",
        '\ufeffage;x,"a ""b"", c",target\r\n1,"x\ny",1\r\n2,NaN,0\r\n'.encode(),
        b"target,x,y\n" + b"".join(b"%d,%d.5,1e%d\n" % (k % 2, k, k) for k in range(30)),
    ]


def isic() -> list[bytes]:
    """Return tables of images and diagnoses."""
    return [
        b"image,dx,lesion_id,attribution\na,NV,L1,x\nb.png,MEL,L1,y\nc,NV,,x\n",
        b"image,MEL,NV\na,1.0,0.0\nb,0.0,1.0\nc,1,0\n",
    ]


def hearts() -> list[bytes]:
    """Return rows of the heart disease data."""
    row = ",".join(["1.0"] * 12)
    return [f"63.0,{row},{k}\n?,{row},0\n".encode() for k in (0, 2)]


def nifti() -> list[bytes]:
    """Return volumes: NIfTI-1 and NIfTI-2."""
    nibabel: Any = importlib.import_module("nibabel")
    values, affine = np.arange(8**3, dtype=np.int16).reshape(8, 8, 8), np.diag([-1.0, -1.0, -1, 1])
    one = nibabel.Nifti1Image(values, affine)
    one.header.set_slope_inter(2.0, -1.0)
    other = nibabel.Nifti2Image(values.astype(np.float32), affine)
    return [one.to_bytes(), other.to_bytes()]


def packed(content: bytes) -> bytes:
    """Return a gzip file."""
    return gzip.compress(content, 1, mtime=0)


def pictures() -> list[bytes]:
    """Return image files of every format that is read."""
    from PIL import Image

    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    made = []
    for form in ("PNG", "JPEG", "BMP", "TIFF"):
        out = io.BytesIO()
        Image.fromarray(values).save(out, form)
        made.append(out.getvalue())
    return made


def dicom() -> list[bytes]:
    """Return images: plain, with a window, and in other syntaxes."""
    shown = {"WindowCenter": "100", "WindowWidth": "50"}
    return [
        _dicom(),
        _dicom(RescaleSlope="2", RescaleIntercept="-5", **shown),
        _dicom("1.2.840.10008.1.2", PixelRepresentation=1),
        _dicom("1.2.840.10008.1.2.2"),
    ]


def _dicom(syntax: str = "1.2.840.10008.1.2.1", **tags: Any) -> bytes:
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    data, meta = pydicom.Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    data.file_meta = meta
    known = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "PatientName": "SURNAME^GIVEN",
        "PatientID": "7",
        "Rows": 8,
        "Columns": 8,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    for name, value in {**known, **tags}.items():
        setattr(data, name, value)
    data.add_new("PixelData", "OW", np.arange(64, dtype=np.uint16).tobytes())
    made = io.BytesIO()
    pydicom.dcmwrite(made, data, enforce_file_format=True)
    return made.getvalue()
