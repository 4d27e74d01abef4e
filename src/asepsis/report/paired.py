"""What a trigger does to a model of several findings, attacked and clean side by side."""

from __future__ import annotations

from asepsis.report.findings import Finding, Scenario
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import NONE, Scale, bounds, plus_minus

BESIDE = "backdoor/"
LEVEL = "ASR at 0.6"
"""What the attack success is called where findings are probabilities with a threshold."""


def figures_grid(scenario: Scenario) -> Grid:
    """Every figure that the task gives of a backdoor beside its success."""
    rows = [row for finding in scenario.findings for row in _rows(finding)]
    heads = ["attack", "defense", "figure (%)", "attacked model", "clean model"]
    return Grid(heads, rows)


def _rows(finding: Finding) -> list[list[Cell]]:
    tails = [run.footer.get("tail", {}) for run, _ in finding.group.good]
    beside = dict.fromkeys(name for tail in tails for name in tail if name.startswith(BESIDE))
    if not finding.attacked or not beside:
        return []
    return [_row(finding, name) for name in ("asr", *beside)]


def _row(finding: Finding, name: str) -> list[Cell]:
    scale = Scale(name)
    attacked, clean = finding.group.metric(name), finding.group.floor(name)
    leveled = name == "asr" and not finding.group.generates
    label = LEVEL if leveled else scale.label
    return [
        Cell(finding.attack, finding.attack),
        Cell(finding.defense, finding.defense),
        Cell(label, label),
        *(
            Cell(plus_minus(scale, x) if x.n else NONE, x.mean, bounds(scale, x))
            for x in (attacked, clean)
        ),
    ]
