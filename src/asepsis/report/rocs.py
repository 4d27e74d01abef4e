"""ROC curves of membership inference on logarithmic axes: what counts is the left end."""

from __future__ import annotations

from typing import Any

import numpy as np

from asepsis.experiments.leaks import observers
from asepsis.experiments.results import Run
from asepsis.report.findings import Finding, Scenario
from asepsis.report.plots import Plot, finished, roc

PROTOCOL = "held-out"
BLIND = "held-out (blind)"


def curves(scenario: Scenario, name: str) -> list[Plot]:
    """Draw one figure an observer: a line a stack, and the classifier that never saw the model.

    Members against held-out patients of the same hospitals, of the first seed; rates of zero
    have no place on these axes and are left out.
    """
    found = [
        (finding, by)
        for finding in scenario.findings
        for by, kind in observers(finding.group).items()
        if kind == "membership"
    ]
    made = []
    for number, by in enumerate(dict.fromkeys(by for _, by in found)):
        lines = [line for finding, its in found if its == by for line in _lines(finding, by)]
        blind = [line for finding, its in found if its == by for line in _blind(finding, by)][:1]
        if lines:
            title = f"{by}: members against held-out patients of the same hospital"
            made.append(finished(roc([*lines, *blind]), f"{name}-roc-{number}", title))
    return made


def _lines(finding: Finding, by: str) -> list[tuple[str, Any, Any]]:
    return [
        (finding.defense, points[:, 0], points[:, 1])
        for points in _points(finding, by, PROTOCOL)
        if len(points)
    ]


def _blind(finding: Finding, by: str) -> list[tuple[str, Any, Any]]:
    return [
        ("blind", points[:, 0], points[:, 1])
        for points in _points(finding, by, BLIND)
        if len(points)
    ]


def _points(finding: Finding, by: str, name: str) -> list[Any]:
    runs: list[Run] = [run for run, _ in finding.group.good[:1]]
    entries = [item for run in runs for item in run.footer.get("evidence") or []]
    drawn = [item["curves"][name] for item in entries if item["by"] == by and "curves" in item]
    return [np.array(points, dtype=np.float64).reshape(-1, 2) for points in drawn[-1:]]
