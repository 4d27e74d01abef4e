"""What defenses promise of differential privacy: an epsilon, and what it means nothing without."""

from __future__ import annotations

import math

from asepsis.report.findings import Finding, Scenario
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import number

HEADS = ["through", "mechanism", "epsilon", "delta", "unit", "neighbors", "trust", "sampling"]


def promised_grid(scenario: Scenario) -> Grid:
    """Return one row for every claim of privacy, the worst over seeds and hospitals."""
    rows = [row for finding in scenario.findings if not finding.attacked for row in _rows(finding)]
    return Grid([*HEADS, "accountant"], rows)


def _rows(finding: Finding) -> list[list[Cell]]:
    claims = [claim for run, _ in finding.group.good for claim in run.footer.get("privacy") or []]
    worst: dict[tuple[str, str], dict[str, object]] = {}
    for claim in claims:
        key = (str(claim["mechanism"]), str(claim["unit"]))
        if key not in worst or _epsilon(claim) > _epsilon(worst[key]):
            worst[key] = claim
    where = " · ".join([finding.defense, *(value for _, value in finding.group.labels)])
    return [
        [
            Cell(where, where),
            Cell(str(claim["mechanism"])),
            Cell(_written(_epsilon(claim)), _epsilon(claim)),
            *(Cell(str(claim[name])) for name in ("delta", "unit", "neighbors", "trust")),
            Cell(str(claim["sampling"])),
            Cell(str(claim["accountant"])),
        ]
        for claim in worst.values()
    ]


def _epsilon(claim: dict[str, object]) -> float:
    value = claim["epsilon"]
    return float(value) if isinstance(value, int | float) else math.inf


def _written(epsilon: float) -> str:
    return "none" if math.isinf(epsilon) else number(epsilon, 2)


def promises(scenario: Scenario) -> list[str]:
    """Write every claim of privacy as a line."""
    told = []
    for row in promised_grid(scenario).rows:
        where, mechanism, epsilon, delta, unit, neighbors, trust, sampling, accountant = (
            cell.text for cell in row
        )
        told.append(
            f"{scenario.title}: through {where}, {mechanism} promises epsilon {epsilon} at delta "
            f"{delta} to one {unit} ({neighbors}; trust {trust}; sampling {sampling}; "
            f"accountant {accountant})."
        )
    return told
