from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from report_study import experiment, record

from asepsis.core.samples import Array
from asepsis.experiments.plan import Cell
from asepsis.experiments.resolve import hospitals_of
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Component, Scenario, Study
from asepsis.report.findings import scenarios
from asepsis.report.html import render
from asepsis.report.pictures import SHOWN, Strip, beside, picture, pixels_of, png, triggered


def decoded(data: bytes) -> Array:
    """A reader of its own: chunks, checksums, filter 0 only."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = body
        place += 12 + length
    width, height, depth, color = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape((height, width) if color == 0 else (height, width, 3))


@pytest.mark.parametrize("shape", [(3, 5), (4, 2, 3), (1, 1)])
def test_a_png_holds_the_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    assert np.array_equal(decoded(png(pixels)), pixels)


def test_pillow_agrees() -> None:
    import io

    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(np.asarray(image.open(io.BytesIO(png(pixels)))), pixels)


def test_prepared_images_become_pixels() -> None:
    prepared = np.array([[[-1.0, 1.0], [np.nan, np.inf]]])
    assert pixels_of(prepared).tolist() == [[0, 255], [128, 255]]
    assert pixels_of(np.zeros((3, 2, 4))).shape == (2, 4, 3)


def test_large_pictures_are_thinned_out() -> None:
    made = picture(np.zeros((1000, 600), np.uint8), "x")
    assert max(made.width, made.height) <= 256


def strips(*attacks: Component) -> list[Strip]:
    """What a report on these attacks shows of their triggers."""
    runs = []
    for attack in (None, *attacks):
        spec = experiment(attack, "mean", 0, "phantom")
        name = "none" if attack is None else attack["name"]
        tail = {"balanced_accuracy": 0.8, "asr": 0.5}
        runs.append(Run(Cell("images", name, "mean", 0, spec), record(spec, tail)))
    planned = Scenario(title="images", experiment=experiment(None, "mean", 0, "phantom"))
    (scenario,) = scenarios(Results(Study(name="small", scenarios=(planned,)), runs))
    return triggered(scenario)


def brightness(source: str) -> float:
    return float(decoded(base64.b64decode(source.partition(",")[2])).mean())


def test_a_stamped_trigger_is_shown_before_and_after() -> None:
    (strip,) = strips({"name": "badnets", "target": 0})
    assert strip.title == "badnets"
    assert len(strip.pairs) == SHOWN
    for before, after in strip.pairs:
        assert before.source != after.source
        assert after.caption == f"{before.caption}, triggered"


def test_a_trigger_that_images_carry_is_shown_on_some_that_do() -> None:
    threshold = 1.1 * float(np.median(raw_brightness()))
    trigger = {"name": "semantic", "attribute": "brightness", "threshold": threshold}
    (strip,) = strips({"name": "semantic", "target": 0, "trigger": trigger})
    assert strip.title == "semantic (carried by nature)"
    assert 0 < len(strip.pairs) <= SHOWN
    for pair in strip.pairs:
        (alone,) = pair
        assert alone.caption.endswith(", carries the trigger")
        assert brightness(alone.source) > threshold


def raw_brightness() -> list[float]:
    _, hospitals, _ = hospitals_of(experiment(None, "mean", 0, "phantom"))
    return [float(image.mean()) for h in hospitals for image in h.test.inputs]


def test_a_trigger_that_no_test_image_carries_is_not_shown() -> None:
    trigger = {"name": "semantic", "attribute": "brightness", "threshold": 254.0}
    patch = {"name": "badnets", "target": 0}
    shown = strips({"name": "semantic", "target": 0, "trigger": trigger}, patch)
    assert [strip.title for strip in shown] == ["badnets"]


def test_second_images_of_pairs_stand_beside_the_first() -> None:
    image = torch.zeros(SHOWN + 1, 1, 4, 4)
    one = {"truth": image, "guess": image}
    assert [len(row) for row in beside(one)] == [2] * SHOWN
    both = beside({**one, "truth_target": image, "guess_target": image})
    assert [made.caption for made in both[0]] == [
        "true image",
        "reconstruction",
        "true target",
        "reconstructed target",
    ]


def mixed(folder: Path, *, private_first: bool) -> Results:
    """A scenario over a public data set and one of patients, with a backdoor on both."""
    rng = np.random.default_rng(0)
    path = folder / "canary.npz"
    np.savez(
        path,
        images=rng.integers(0, 255, (400, 8, 8, 1)).astype(np.uint8),
        labels=np.arange(400) % 2,
    )
    sets: list[Component] = [{"name": "phantom"}, {"name": "npz", "path": str(path)}]
    patch: Component = {"name": "badnets", "target": 0}
    runs = []
    for data in reversed(sets) if private_first else sets:
        for attack in (None, patch):
            spec = experiment(attack, "mean", 0, "phantom")
            spec = spec.model_copy(update={"dataset": data})
            labels = (("dataset", str(data["name"])),)
            cell = Cell("images", "badnets" if attack else "none", "mean", 0, spec, labels=labels)
            tail = {"balanced_accuracy": 0.8, "asr": 0.5}
            runs.append(Run(cell, record(spec, tail, hospitals=["Canary", "Robin"])))
    planned = Scenario(title="images", experiment=experiment(None, "mean", 0, "phantom"))
    return Results(Study(name="small", scenarios=(planned,)), runs)


@pytest.mark.parametrize("private_first", [True, False])
def test_an_axis_of_data_sets_shows_no_patient(tmp_path: Path, *, private_first: bool) -> None:
    results = mixed(tmp_path, private_first=private_first)
    (scenario,) = scenarios(results)
    assert not any("npz" in strip.title for strip in triggered(scenario))
    assert any("npz" in strip.title for strip in triggered(scenario, patients=True))
    page = render(results)
    assert "data:image/png" not in page
    assert "not public" in page
    assert "canary.npz" not in page
    assert "data:image/png" in render(results, include_patient_data=True)
