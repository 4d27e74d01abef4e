"""Figures of images in the terminal and on the page, beside the mean training image."""

from __future__ import annotations

import io

from report_study import JITTER, Maker
from rich.console import Console

from asepsis.experiments.results import Results
from asepsis.report.findings import Verdict, scenarios
from asepsis.report.html import render
from asepsis.report.imaged import image_grid
from asepsis.report.terminal import print_results


def images(results: Results, error: float, unit: str = "HU") -> Results:
    """Turn a study of classes into one of images; everything else stays."""
    for run in results.runs:
        jitter = JITTER[run.cell.seed % 3]
        run.resolved.update({"primary": "ssim", "unit": unit, "classes": []})
        tail = {"ssim": 0.85 + jitter, "mae": error, "psnr": 21.0, "unseen/mae": 2 * error}
        run.footer.update({"tail": tail, "prior": {"ssim": 0.5, "mae": 200.0, "psnr": 18.0}})
        for item in run.rounds:
            item["metrics"] = dict(tail)
    return results


def printed(results: Results) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_results(results, console)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_table_shows_error_and_psnr_with_their_units(study: Maker) -> None:
    text = printed(images(study(), 92.31))
    assert "SSIM" in text
    assert "0.850 ±0.025" in text
    assert "MAE 92.310 HU" in text
    assert "PSNR 21.00 dB" in text
    assert "mean training image: SSIM 0.500" in text
    assert "MAE (HU) 200.000" in text
    assert "MAE 92.310\n" not in printed(images(study(), 92.31, "normalized"))


def test_the_page_has_them_all_and_the_prior_first(study: Maker) -> None:
    results = images(study(), 92.31)
    grid = image_grid(scenarios(results)[0])
    assert grid.heads == [
        "attack",
        "defense",
        "SSIM",
        "MAE (HU)",
        "PSNR (dB)",
        "MAE, unseen (HU)",
    ]
    first, second = grid.rows[0], grid.rows[1]
    assert [cell.text for cell in first[:4]] == [
        "mean training image",
        "–",
        "0.500 (n=1)",
        "200.000 (n=1)",
    ]
    assert second[5].order == 2 * 92.31
    assert len(grid.rows) == 1 + len(scenarios(results)[0].findings)
    assert "How good are the images?" in render(results)
    assert "How good are the images?" not in render(study())


def test_a_model_no_better_than_the_mean_image_supports_no_claim(study: Maker) -> None:
    found = scenarios(images(study(), 201.0))[0].findings
    assert {finding.verdict for finding in found} == {Verdict.UNTRAINED}
    found = scenarios(images(study(), 199.0))[0].findings
    assert Verdict.UNTRAINED not in {finding.verdict for finding in found}
