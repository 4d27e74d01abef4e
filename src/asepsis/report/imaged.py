"""Beside SSIM: other figures of models that make images, and of who never sees the input."""

from __future__ import annotations

import math

from asepsis.experiments.results import Run
from asepsis.metrics.hospitals import UNSEEN
from asepsis.metrics.intervals import Interval, t_interval
from asepsis.metrics.translation import FUSED
from asepsis.report.findings import Finding, Scenario, Verdict
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import Scale, bounds, plus_minus

SHORT = {"ssim": "SSIM", "mae": "MAE", "psnr": "PSNR"}
NAMES = tuple(
    f"{where}{kind}{name}" for where in ("", UNSEEN) for kind in ("", FUSED) for name in SHORT
)
PRIOR = "mean training image"


def image_lines(finding: Finding) -> list[str]:
    """Return error and PSNR of a finding, as in ``MAE 92.310 HU``; nothing for other tasks."""
    made = []
    for name in ("mae", "psnr"):
        found = finding.group.metric(name)
        if found.n:
            made.append(f"{SHORT[name]} {_said(name, found.mean, finding.group.runs)}")
    return made


def image_grid(scenario: Scenario) -> Grid:
    """Every figure of images, of whole volumes and of the unseen hospital, where there are any.

    The first row is who answers with the mean training image whatever the input is.
    """
    runs = scenario.runs
    names = [
        name for name in NAMES if any("mae" in _tail(run) and name in _tail(run) for run in runs)
    ]
    if not names:
        return Grid([], [])
    prior = [run.footer["prior"] for run in runs if "prior" in run.footer]
    rows = [
        [
            Cell(PRIOR, ""),
            Cell("–"),
            *(_cell(name, _over([one.get(name) for one in prior])) for name in names),
        ]
    ]
    rows += [
        [
            Cell(finding.attack, finding.attack),
            Cell(finding.defense, finding.defense),
            *(_cell(name, finding.group.metric(name)) for name in names),
        ]
        for finding in scenario.findings
        if finding.verdict not in (Verdict.FAILED, Verdict.NEVER)
    ]
    return Grid(["attack", "defense", *(_head(name, runs) for name in names)], rows)


def prior_text(scenario: Scenario) -> str:
    """Say what a model must beat, as in ``mean training image: SSIM 0.581, ...``; or nothing."""
    grid = image_grid(scenario)
    if not grid.rows:
        return ""
    told = zip(grid.heads[2:], grid.rows[0][2:], strict=True)
    return f"{PRIOR}: " + ", ".join(f"{head} {cell.text}" for head, cell in told)


def _tail(run: Run) -> dict[str, float]:
    found: dict[str, float] = run.footer.get("tail", {})
    return found


def _over(values: list[float | None]) -> Interval:
    """Equal values of equal test sets are one value, with no interval."""
    known = sorted({value for value in values if value is not None})
    return t_interval(known)


def _cell(name: str, found: Interval) -> Cell:
    scale = Scale(name)
    return Cell(plus_minus(scale, found), found.mean if found.n else math.nan, bounds(scale, found))


def _head(name: str, runs: list[Run]) -> str:
    where = ", unseen" if name.startswith(UNSEEN) else ""
    plain = name.removeprefix(UNSEEN)
    kind = ", volumes" if plain.startswith(FUSED) else ""
    plain = plain.removeprefix(FUSED)
    unit = {"mae": _unit(runs), "psnr": "dB"}.get(plain, "")
    return SHORT[plain] + kind + where + (f" ({unit})" if unit else "")


def _said(name: str, value: float, runs: list[Run]) -> str:
    unit = {"mae": _unit(runs), "psnr": "dB"}[name]
    return f"{Scale(name).digits(value)} {unit}".strip()


def _unit(runs: list[Run]) -> str:
    unit = next((str(run.resolved["unit"]) for run in runs if "unit" in run.resolved), "")
    return "" if unit == "normalized" else unit
