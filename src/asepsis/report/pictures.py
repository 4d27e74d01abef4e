"""Pictures for a report: images before and after a trigger, truth beside its reconstruction."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor

from asepsis.core.contracts import Carried, Evolving, Stamps
from asepsis.core.errors import AsepsisError
from asepsis.core.registry import build, lookup
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Array, DataFacts, Hospital, Kind
from asepsis.experiments.figures import ATTACK
from asepsis.experiments.identity import record_name
from asepsis.experiments.resolve import hospitals_of, threat_of
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Experiment
from asepsis.experiments.store import Store, read_tensors
from asepsis.report.findings import Finding, Scenario
from asepsis.report.overlays import overlays
from asepsis.report.provenance import provenance
from asepsis.tasks import generation

SHOWN = 4
IN_A_ROW = 8
LARGEST_SIDE = 256
IMAGES = (Kind.IMAGE, Kind.MULTILABEL_IMAGE)
REAL = {"real": "real images", "stamped": "real images with the trigger"}
"""What is kept of real images beside generated ones."""
PICTURED = ("inversion", "classes")
"""Kinds of evidence that are images."""


@dataclass(frozen=True)
class Picture:
    """One image as a data URI, and what it is."""

    source: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Strip:
    """Pictures that belong together: before and after, truth and guess; or one alone."""

    title: str
    pairs: list[tuple[Picture, ...]]


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures, each with its name: what an attack has to show."""

    title: str
    rows: list[tuple[str, list[Picture]]]


def png(pixels: Array) -> bytes:
    """Encode uint8 pixels ``[h, w]`` or ``[h, w, 3]`` as PNG.

    Example:
        >>> png(np.zeros((2, 2), np.uint8))[:4]
        b'\\x89PNG'
    """
    height, width = pixels.shape[:2]
    color_type = 0 if pixels.ndim == 2 else 2
    raw = np.ascontiguousarray(pixels, dtype=np.uint8).reshape(height, -1)
    lines = np.hstack([np.zeros((height, 1), np.uint8), raw])
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def picture(pixels: Array, caption: str, most: int = LARGEST_SIDE) -> Picture:
    """Wrap pixels as a picture; ones larger than ``most`` are thinned out."""
    step = max(1, -(-max(pixels.shape[:2]) // most))
    small = pixels[::step, ::step]
    shown = small if small.ndim == 2 or small.shape[-1] == 3 else small[..., 0]
    data = base64.b64encode(png(shown)).decode()
    return Picture(f"data:image/png;base64,{data}", caption, shown.shape[1], shown.shape[0])


def pixels_of(prepared: Array) -> Array:
    """Turn one prepared image ``[c, h, w]`` in [-1, 1] into uint8 pixels.

    Values outside the range are clipped, what is not a number becomes mid-gray.

    Example:
        >>> pixels_of(np.array([[[-1.0, 0.0, 2.0]]])).tolist()
        [[0, 128, 255]]
    """
    return np.asarray(generation.pixels(np.asarray(prepared)[None])[0])


def triggered(scenario: Scenario, *, patients: bool = False) -> list[Strip]:
    """Show test images of a scenario before and after each backdoor's trigger.

    They are stamped exactly as the evaluation stamps them. Where images carry a trigger by
    nature, some that do are shown, once. Data that are not public are not shown, unless
    ``patients`` may be.

    Raises:
        AsepsisError: the data cannot be had any more.
    """
    first = {f.attack: f.group.runs[0].cell.spec for f in reversed(scenario.findings)}
    strips = [
        _stamped(first[attack], attack)
        for attack in scenario.attacks
        if first[attack].attack is not None and (patients or provenance(first[attack]).public)
    ]
    return _merged([strip for strip in strips if strip is not None])


def _merged(strips: list[Strip]) -> list[Strip]:
    """Show what several attacks stamp alike only once, under all their names."""
    titles: dict[tuple[str, ...], list[str]] = {}
    first: dict[tuple[str, ...], Strip] = {}
    for strip in strips:
        key = tuple(picture.source for pair in strip.pairs for picture in pair)
        titles.setdefault(key, []).append(strip.title)
        first.setdefault(key, strip)
    return [Strip(", ".join(titles[key]), strip.pairs) for key, strip in first.items()]


def _stamped(spec: Experiment, label: str) -> Strip | None:
    assert spec.attack is not None
    if not hasattr(lookup("attack", spec.attack["name"]), "stamp"):
        return None
    facts, hospitals, _ = hospitals_of(spec)
    if facts.kind not in IMAGES:
        return None
    attack = _fitted(spec, facts, hospitals)
    if isinstance(attack, Evolving):
        return None  # what it stamped in the end is kept with the results
    tests = [hospital.test for hospital in hospitals if len(hospital.test)]
    inputs = np.concatenate([test.inputs for test in tests])
    targets = np.concatenate([test.targets for test in tests])
    trigger, by_nature = attack.stamp, ""
    where = np.arange(len(inputs))
    if isinstance(trigger, Carried):
        where, by_nature = np.flatnonzero(trigger.carries(inputs)), " (carried by nature)"
    stamped = trigger.stamp(inputs, Streams(spec.seed).at(Draw.TRIGGER))
    pairs: list[tuple[Picture, ...]] = []
    for index in where[_chosen(targets[where], getattr(attack, "target", None))]:
        name = facts.classes[int(targets[index])] if targets.ndim == 1 else "image"
        before = picture(inputs[index], f"{name}, carries the trigger" if by_nature else name)
        after = picture(stamped[index], f"{name}, triggered")
        pairs.append((before,) if by_nature else (before, after))
    return Strip(label + by_nature, pairs) if pairs else None


def _fitted(spec: Experiment, facts: DataFacts, hospitals: tuple[Hospital, ...]) -> Stamps:
    """Build the backdoor as the federation does: fitted to its first hostile hospital's data."""
    attack = build("attack", spec.attack or {}, "attack")
    threat = threat_of(spec, attack, len(hospitals), Streams(spec.seed))
    if hasattr(attack, "fitted") and threat.clients:
        own = next(h for h in hospitals if h.id == threat.clients[0])
        attack = attack.fitted(own.train, facts)
    return cast(Stamps, attack)


def _chosen(targets: Array, target: int | None) -> list[int]:
    """Pick some samples of other classes than the target, if any, spread over the test set."""
    others = np.arange(len(targets))
    if targets.ndim == 1 and target is not None:
        others = np.flatnonzero(targets != target)
    return [int(i) for i in others[:: max(1, len(others) // SHOWN)][:SHOWN]]


def galleries(results: Results, scenario: Scenario) -> list[Gallery]:
    """Show what each attack kept to be shown, of the first run that kept anything."""
    if results.root is None:
        return []
    store = Store(results.root)
    found: dict[str, Gallery] = {}
    for finding in scenario.findings:
        for run in finding.group.runs[:1]:
            rows = _kept(store.pictures(record_name(run.cell, results.engine)))
            if finding.group.generates:  # stand beside what was generated, round by round
                rows = [(name, row) for name, row in rows if name not in REAL]
            if rows:
                title = f"{finding.attack} under {finding.defense}, seed {run.cell.seed}"
                found.setdefault(finding.attack, Gallery(title, rows))
    return list(found.values())


def _kept(path: Path) -> list[tuple[str, list[Picture]]]:
    """Read rows of images by name: real ones first, others beside them."""
    try:
        tensors = read_tensors(path) or {}
    except AsepsisError:
        return []
    rows = [
        (name, [picture(pixels_of(image), name) for image in batch[:IN_A_ROW].float().numpy()])
        for name, batch in sorted(tensors.items(), key=lambda item: (item[0] != "real", item[0]))
        if _image_like(batch)
    ]
    over = overlays(tensors).items()
    return rows + [
        (name, [picture(pixels, name) for pixels in row[:IN_A_ROW]]) for name, row in over
    ]


def inversions(results: Results, scenario: Scenario) -> list[Strip]:
    """Show, for each channel and whoever looks, true inputs beside what was reconstructed.

    The first seed's first observed round is shown, not the best one.
    """
    if results.root is None:
        return []
    store = Store(results.root)
    return [
        strip
        for finding in scenario.findings
        for run in finding.group.runs[:1]
        for entry in _first_images(run)
        if (strip := _inverted(store, run, results.engine, entry, finding))
    ]


def _first_images(run: Run) -> list[dict[str, Any]]:
    """Return everybody's first claim about what inputs look like."""
    first: dict[str, dict[str, Any]] = {}
    for entry in run.footer.get("evidence") or []:
        if entry["kind"] in PICTURED:
            first.setdefault(str(entry["by"]), entry)
    return list(first.values())


def _inverted(
    store: Store, run: Run, engine: str, entry: dict[str, Any], finding: Finding
) -> Strip | None:
    by, round_ = str(entry["by"]), int(entry["round"])
    watching = [str(item["name"]) for item in run.resolved.get("observe", [])]
    number = watching.index(by) if by in watching else len(watching)
    try:
        tensors = read_tensors(store.artifact(record_name(run.cell, engine), round_, number))
    except AsepsisError:
        tensors = None
    if not (tensors and _image_like(tensors.get("truth")) and _image_like(tensors.get("guess"))):
        return None
    who = finding.attack if by == ATTACK else by
    title = f"{who} through {finding.defense}, round {round_ + 1}{_scored(entry['scores'])}"
    return Strip(title, beside(tensors))


def beside(tensors: dict[str, Tensor]) -> list[tuple[Picture, ...]]:
    """Put truth beside guess, and after them the second images of pairs where there are any."""
    named = {"truth": "true image", "guess": "reconstruction"}
    if _image_like(tensors.get("truth_target")) and _image_like(tensors.get("guess_target")):
        named |= {"truth_target": "true target", "guess_target": "reconstructed target"}
    columns = [
        [picture(pixels_of(image), caption) for image in tensors[name][:SHOWN].float().numpy()]
        for name, caption in named.items()
    ]
    return list(zip(*columns, strict=False))


def _image_like(tensor: Tensor | None) -> bool:
    shape = () if tensor is None else tuple(tensor.shape)
    return len(shape) == 4 and shape[1] in (1, 3) and min(shape) > 0


def _scored(scores: dict[str, float]) -> str:
    said = [f"PSNR {scores['psnr']:.1f} dB"] if "psnr" in scores else []
    said += [f"SSIM {scores['ssim']:.2f}"] if "ssim" in scores else []
    return f": {', '.join(said)}" if said else ""
