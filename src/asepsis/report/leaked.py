"""What those who only look have learned, beside what they would know without looking."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from asepsis.experiments.leaks import learned, observers, scored
from asepsis.experiments.results import Group
from asepsis.metrics.intervals import Interval
from asepsis.report.findings import Finding, Scenario
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import number

NOTHING = Cell("–", -math.inf)
Write = Callable[[float], str]


def _percent(value: float) -> str:
    return number(100 * value, 1)


def _decibels(value: float) -> str:
    return "exact" if value == math.inf else number(value, 1)


def _count(value: float) -> str:
    return number(value, 0)


def _plain(value: float) -> str:
    return number(value, 3)


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of one kind of evidence: its name in the record, its head, how it is written."""

    figure: str
    head: str
    write: Write = _percent


KINDS: dict[str, tuple[str, tuple[Column, ...]]] = {
    "membership": (
        "Who was trained on? AUC in %, chance 50; blind: a classifier that never saw the model",
        (
            Column("held-out/auc", "AUC, same hospital"),
            Column("held-out/blind", "blind"),
            Column("held-out/excess", "excess"),
            Column("held-out/tpr@1%", "TPR at 1% FPR"),
            Column("held-out/tpr@0.1%", "at 0.1%"),
            Column("elsewhere/auc", "AUC, other hospitals"),
            Column("elsewhere/blind", "blind"),
            Column("which-hospital/auc", "which hospital"),
            Column("federation/auc", "any hospital"),
            Column("federation/blind", "blind"),
        ),
    ),
    "inversion": (
        "What did the inputs look like? Beside it, what is known without the update",
        (
            Column("psnr", "PSNR (dB)", _decibels),
            Column("prior/mean/psnr", "of the mean image", _decibels),
            Column("prior/nearest/psnr", "of the nearest public image", _decibels),
            Column("ssim", "SSIM", _plain),
            Column("prior/mean/ssim", "of the mean image", _plain),
            Column("prior/nearest/ssim", "of the nearest public image", _plain),
            Column("inside/psnr", "PSNR inside the body (dB)", _decibels),
            Column("target/psnr", "PSNR of the second image (dB)", _decibels),
            Column("target/prior/mean/psnr", "of its mean image", _decibels),
            Column("target/ssim", "SSIM of the second image", _plain),
            Column("target/prior/mean/ssim", "of its mean image", _plain),
            Column("mse", "squared error", _plain),
            Column("prior/mean/mse", "of the mean record", _plain),
            Column("success", "reconstructed (PSNR > 25 dB, or error < 0.01)"),
            Column("top1", "re-identified"),
            Column("candidates", "among so many", _count),
        ),
    ),
    "labels": (
        "Which labels were trained on? Beside it, guesses from the public shares",
        (
            Column("exact", "all counts right"),
            Column("chance_exact", "chance"),
            Column("count_error", "mean error of a count", _plain),
            Column("prior_count_error", "public shares", _plain),
        ),
    ),
    "property": (
        "How common is a diagnosis at a hospital? Mean error of the share, in points",
        (
            Column("error", "error"),
            Column("baseline_error", "public share"),
            Column("gain", "gain"),
            Column("closed_form_error", "closed form"),
            Column("rank", "rank agreement", _plain),
        ),
    ),
    "attribute": (
        "A hidden column of a record: guessed right in %",
        (
            Column("accuracy/members", "members"),
            Column("accuracy/others", "others"),
            Column("imputed/members", "imputed, members"),
            Column("imputed/others", "imputed, others"),
            Column("majority/members", "commonest value"),
            Column("leakage", "leakage"),
        ),
    ),
    "classes": (
        "What does a class look like? Beside it, the mean of public samples of the class",
        (
            Column("psnr_mean", "PSNR to the class mean (dB)", _decibels),
            Column("prior_psnr_mean", "public mean", _decibels),
            Column("ssim_mean", "SSIM to the class mean", _plain),
            Column("prior_ssim_mean", "public mean", _plain),
            Column("psnr_member", "PSNR to the nearest member (dB)", _decibels),
            Column("prior_psnr_member", "public mean", _decibels),
        ),
    ),
    "isolation": (
        "One hospital's update out of what was hidden: relative error of it, cosine with it",
        (
            Column("isolated", "isolated"),
            Column("known", "columns known"),
            Column("relative_error", "relative error", _plain),
            Column("cosine", "cosine", _plain),
            Column("other_cosine", "with the nearest other hospital", _plain),
            Column("rest_cosine", "with the mean of the others", _plain),
        ),
    ),
}
"""What is shown of each kind of evidence; figures that no observer has are left out."""


def grids(scenario: Scenario) -> list[tuple[str, Grid]]:
    """Return a table for every kind of evidence in a scenario, with its caption."""
    kinds = dict.fromkeys(kind for f in scenario.findings for kind in observers(f.group).values())
    return [(KINDS[kind][0], _grid(scenario, kind)) for kind in kinds if kind in KINDS]


def _grid(scenario: Scenario, kind: str) -> Grid:
    found = [
        (finding, by)
        for finding in scenario.findings
        for by, its_kind in observers(finding.group).items()
        if its_kind == kind
    ]
    columns = [
        column
        for column in KINDS[kind][1]
        if any(column.figure in _names(finding.group, by) for finding, by in found)
    ]
    several = len({finding.attack for finding, _ in found if not finding.passive}) > 1
    heads = ["who looks", *(["attack"] if several else []), "through"]
    rows = [
        [
            Cell(_named(finding, by), _named(finding, by)),
            *([Cell(finding.attack, finding.attack)] if several else []),
            Cell(finding.defense, finding.defense),
            *(_cell(finding.group, by, column) for column in columns),
        ]
        for finding, by in sorted(found, key=lambda item: _named(*item))
    ]
    return Grid([*heads, *(column.head for column in columns)], rows)


def _named(finding: Finding, by: str) -> str:
    return finding.attack if by == "attack" else by


def _names(group: Group, by: str) -> set[str]:
    return {name for run, _ in group.good for name in scored(run, by)}


def _cell(group: Group, by: str, column: Column) -> Cell:
    if column.figure not in _names(group, by):
        return NOTHING
    found = learned(group, by, column.figure)
    if not found.n:
        return Cell("n/e", -math.inf, "not estimable")
    return Cell(_written(found, column.write), found.mean)


def _written(found: Interval, write: Write) -> str:
    if not math.isfinite(found.low):
        return write(found.mean)
    return f"{write(found.mean)} [{write(found.low)}, {write(found.high)}]"


def _told(column: Column, value: float) -> str:
    head, _, rest = column.head.partition(" (dB)")
    return f"{head}{rest} {column.write(value)}{' dB' if column.write is _decibels else ''}"


def leaked_lines(finding: Finding) -> list[str]:
    """Write in short what a finding's own attack has learned, for a table of attacks."""
    kind = observers(finding.group).get("attack", "")
    columns = KINDS[kind][1] if kind in KINDS else ()
    told = [(column, learned(finding.group, "attack", column.figure)) for column in columns]
    known = [_told(column, found.mean) for column, found in told if found.n]
    return known[:4]
