"""Pictures of generators: images by round, losses by hospital, and what they may cost."""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generator_study import BLOCKED, ROUNDS, generators, keep
from torch import Tensor

from asepsis.core.samples import Array
from asepsis.experiments.identity import identity
from asepsis.experiments.results import Results, Run
from asepsis.experiments.store import Store, write_tensors
from asepsis.report.findings import scenarios
from asepsis.report.generated_figures import BUDGET, board, loss_plots, montage, shortened
from asepsis.report.html import render
from asepsis.report.pictures import Picture, galleries

LIMIT = 5 << 20


def pixels_of(picture: Picture) -> Array:
    """Read a PNG that was written without filters."""
    data = base64.b64decode(picture.source.partition(",")[2])
    width, height, _, color = struct.unpack(">IIBB", data[16:26])
    body = data.split(b"IDAT")[1]
    lines = np.frombuffer(zlib.decompressobj().decompress(body), np.uint8).reshape(height, -1)
    return lines[:, 1:].reshape((height, width) if color == 0 else (height, width, 3))


def images(count: int = 8, side: int = 6, channels: int = 1) -> Tensor:
    levels = torch.linspace(-1, 1, count)[:, None, None, None]
    return levels.expand(count, channels, side, side).clone()


def shown(tmp_path: Path, batch: Tensor, **options: object) -> Results:
    results = generators(tmp_path / "results", seeds=(0,), **options)  # type: ignore[arg-type]
    stamped = batch.clone()
    stamped[..., -2:, -2:] = 1
    keep(results, batch, stamped)
    return results


def test_a_montage_holds_eight_images_with_gaps_between() -> None:
    made = pixels_of(montage(images(10), 64, "x"))
    assert made.shape == (6, 8 * 6 + 7)
    assert made[0, ::7].tolist() == [round(255 * i / 9) for i in range(8)]
    assert set(made[:, 6::7].ravel().tolist()) == {128}


def test_large_images_are_averaged_so_that_a_small_trigger_stays_visible() -> None:
    image = -torch.ones(1, 1, 128, 128)
    image[..., -1:, -1:] = 1  # one white pixel, where every second pixel would miss it
    made = pixels_of(montage(image, 64, "x"))
    assert made.shape == (64, 64)
    assert made[-1, -1] == 64  # 255 / 4, to the nearest
    assert made[0, 0] == 0


def test_what_is_no_number_is_shown_in_gray_and_colors_stay() -> None:
    image = torch.full((1, 3, 4, 4), float("nan"))
    image[:, 0] = 1
    made = pixels_of(montage(image, 64, "x"))
    assert made.shape == (4, 4, 3)
    assert made[0, 0].tolist() == [255, 128, 128]


def test_rows_are_real_clean_attacked_and_defended_with_rounds_side_by_side(
    tmp_path: Path,
) -> None:
    results = shown(tmp_path, images())
    [scenario] = scenarios(results)
    made = board(results, scenario)
    assert made is not None
    assert made.heads == ["round 2", "round 6", "round 12"]
    stamped = "real images with the trigger of trigger-images"
    assert [name for name, _ in made.real] == ["real images", stamped]
    assert [row.name for row in made.rows] == [
        "clean: nobody attacks under mean",
        "attacked: trigger-images under mean",
        "clean: nobody attacks under feddetect",
        "defended: trigger-images under feddetect",
    ]
    last = pixels_of(made.rows[0].shown[-1] or pytest.fail("no picture"))
    assert np.array_equal(last, pixels_of(made.real[0][1]))
    page = render(results)
    assert all(row.name in page for row in made.rows)
    assert page.count('data-round="round 12"') == 4


def test_every_trigger_is_shown_and_named(tmp_path: Path) -> None:
    results = shown(tmp_path, images())
    assert results.root is not None
    _, second = (run for run in results.runs if run.cell.attack != "none")
    other = images()
    other[..., :2, :2] = 1
    write_tensors(
        Store(results.root).pictures(identity(second.cell.spec, results.engine)),
        {"real": images(), "stamped": other},
    )
    moved = Run(replace(second.cell, attack="white corner"), second.lines)
    [scenario] = scenarios(Results(results.study, [*results.runs[:-1], moved], root=results.root))
    made = board(results, scenario)
    assert made is not None
    assert [name for name, _ in made.real] == [
        "real images",
        "real images with the trigger of trigger-images",
        "real images with the trigger of white corner",
    ]
    assert len({picture.source for _, picture in made.real}) == 3
    assert np.array_equal(pixels_of(made.real[2][1]), pixels_of(montage(other, 64, "x")))


def test_names_in_a_drawing_keep_their_digits() -> None:
    drawn = '<path d="M 1.2345 6.789"/><use points="0.1234,5.5"/><text id="2.3456">site 10.12.2345'
    kept = '<path d="M 1.23 6.78"/><use points="0.12,5.5"/><text id="2.3456">site 10.12.2345'
    assert shortened(drawn) == kept


def test_pictures_stand_on_the_page_once(tmp_path: Path) -> None:
    results = shown(tmp_path, images())
    [scenario] = scenarios(results)
    assert galleries(results, scenario) == []


def test_a_missing_round_leaves_its_place_empty(tmp_path: Path) -> None:
    results = shown(tmp_path, images())
    first = next((tmp_path / "results" / "artifacts").glob("*-5-0.safetensors"))
    first.unlink()
    [scenario] = scenarios(results)
    made = board(results, scenario)
    assert made is not None
    empty = [row.shown.count(None) for row in made.rows]
    assert sorted(empty) == [0, 0, 0, 1]
    assert len(render(results)) > 0


def test_damaged_pictures_are_no_reason_to_fail(tmp_path: Path) -> None:
    results = shown(tmp_path, images())
    for path in (tmp_path / "results" / "artifacts").glob("*.safetensors"):
        path.write_bytes(b"nonsense")
    [scenario] = scenarios(results)
    assert board(results, scenario) is None
    assert "<h3>Images by round" not in render(results)


def test_without_a_folder_there_are_no_pictures() -> None:
    results = generators(seeds=(0,))
    [scenario] = scenarios(results)
    assert board(results, scenario) is None
    assert "no pictures are with the records" in render(results)


def test_pictures_that_were_never_kept_are_missed_aloud() -> None:
    results = generators(seeds=(0,), dataset="npz")
    page = render(results, include_patient_data=True)
    assert "no pictures are kept of data that are not public" in page


def test_private_images_are_not_shown(tmp_path: Path) -> None:
    own = tmp_path / "own.npz"
    rng = np.random.default_rng(0)
    np.savez(own, images=rng.integers(256, size=(8, 4, 4)).astype(np.uint8), labels=np.arange(8))
    results = shown(tmp_path, images(), dataset="npz")
    assert "<h3>Images by round" not in render(results)
    assert "<h3>Images by round" in render(results, include_patient_data=True)


def test_pictures_stay_small_however_many_and_large_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.uniform(-1, 1, size=(8, 3, 128, 128))).float()
    rules = ("mean", "feddetect", "median", "krum", "multi-krum", "trimmed-mean", "meamed", "mda")
    results = shown(tmp_path, noise, rules=rules)
    [scenario] = scenarios(results)
    for share in (1.0, 0.5):
        made = board(results, scenario, share)
        assert made is not None
        kept = [picture for row in made.rows for picture in row.shown if picture]
        kept += [picture for _, picture in made.real]
        assert len(kept) == 2 * len(rules) * 3 + 2
        assert sum(len(picture.source) for picture in kept) < 1.1 * share * BUDGET < 0.6 * LIMIT


def svg_of(results: Results, attack: str, defense: str) -> tuple[str, str]:
    runs = [run for run in results.runs if run.cell.defense == defense]
    [scenario] = scenarios(Results(results.study, runs))
    plots = loss_plots(scenario, "s0")
    where = [(f.attack, f.defense) for f in scenario.findings].index((attack, defense))
    return plots[where].title, str(plots[where].svg)


def test_losses_are_drawn_by_hospital_and_the_block_is_marked() -> None:
    pytest.importorskip("matplotlib")
    title, svg = svg_of(generators(), "trigger-images", "feddetect")
    assert title == (
        f"trigger-images under feddetect, seed 0; blocked: east in round {BLOCKED + 1}"
    )
    for text in ("generator's loss", "critic's loss", "hostile: east", "3 honest hospitals"):
        assert text in svg
    title, plain = svg_of(generators(), "trigger-images", "mean")
    assert title.endswith("nobody blocked")
    assert len(re.findall("<use", svg)) > len(re.findall("<use", plain))  # the marks
    _, clean = svg_of(generators(), "none", "mean")
    assert "4 honest hospitals" in clean
    assert "hostile" not in clean


def test_a_blocked_honest_hospital_is_named_in_its_plot() -> None:
    pytest.importorskip("matplotlib")
    wrong = {"stage": "feddetect", "hospital": 2, "round": 8, "share": 0.0, "reason": "x"}
    title, svg = svg_of(generators(blocked=[wrong]), "trigger-images", "feddetect")
    assert "south in round 9" in title
    assert "honest, blocked: south" in svg
    assert "2 honest hospitals" in svg


def test_losses_that_are_no_number_or_enormous_are_drawn_all_the_same() -> None:
    pytest.importorskip("matplotlib")
    results = generators(seeds=(0,))
    for run in results.runs:
        for item in run.rounds:
            item["train_loss"]["3"] = float("nan")
            item["critic_loss"]["0"] = 1e9 if item["round"] == ROUNDS - 1 else 0.5
    _, svg = svg_of(results, "none", "mean")
    assert "nan" not in svg.lower()
    _, same = svg_of(results, "none", "mean")
    assert svg == same


def test_what_a_hospital_says_is_drawn_dashed_beside_its_loss() -> None:
    pytest.importorskip("matplotlib")
    results = generators(seeds=(0,))
    for run in results.runs:
        for item in run.rounds:
            item["told_loss"] = {"0": math.nan}
            if item["hostile"]:
                item["told_loss"][str(item["hostile"][0])] = 1.5
    _, plain = svg_of(generators(seeds=(0,)), "trigger-images", "mean")
    _, svg = svg_of(results, "trigger-images", "mean")
    assert svg.count("stroke-dasharray: 4.") == plain.count("stroke-dasharray: 4.") + 2
    assert "what east says" in svg
    _, clean = svg_of(results, "none", "mean")
    assert "says" not in clean  # who is silent has no line


def test_every_loss_missing_is_no_plot() -> None:
    pytest.importorskip("matplotlib")
    results = generators(seeds=(0,))
    for run in results.runs:
        for item in run.rounds:
            del item["critic_loss"]
    [scenario] = scenarios(results)
    assert loss_plots(scenario, "s0") == []
