"""Heat maps: one number a field, its shade by size; a reader without colors loses nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from asepsis.experiments.results import Run
from asepsis.metrics.intervals import UNKNOWN, Interval, paired_difference
from asepsis.report.findings import Finding, Scenario
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import Scale, bounds, signed

SHADES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Harm, as a share, from which on a field takes its next shade."""
SHARE = Scale("share")


@dataclass(frozen=True, slots=True)
class Heat:
    """A map with its name in files and its caption; cells' tones are ``heat-0`` to ``heat-5``."""

    name: str
    caption: str
    grid: Grid


def shade(harm: float) -> str:
    """Return the tone of a harm between 0 and 1.

    Example:
        >>> shade(-0.3), shade(0.06), shade(0.9), shade(float("nan"))
        ('heat-0', 'heat-2', 'heat-5', 'none')
    """
    if not math.isfinite(harm):
        return "none"
    return f"heat-{sum(harm >= step for step in SHADES)}"


def maps(scenario: Scenario) -> list[Heat]:
    """Return what attacks cost under every defense: the metric, the trigger, single hospitals."""
    active = [f for f in scenario.findings if f.attacked and not f.passive and f.group.good]
    if not active:
        return []
    label = scenario.scale.label
    points = ", points" if scenario.scale.share else ""
    made = [Heat("harm", f"Change of {label} by the attack{points}", _map(scenario, _harm))]
    if any(f.group.backdoor for f in active):
        caption = "Attack success beyond an unattacked model, in %"
        made.append(Heat("trigger", caption, _map(scenario, _trigger)))
    hospitals = hospitals_map(scenario, active)
    if hospitals.rows:
        caption = (
            f"Change of {label} at every hospital by the attack under {scenario.baseline}{points}"
        )
        made.append(Heat("per-hospital", caption, hospitals))
    return made


def _map(scenario: Scenario, write: Callable[[Finding], Cell]) -> Grid:
    attacks = list(dict.fromkeys(f.attack for f in scenario.findings if f.attacked))
    rows = [
        [
            Cell(attack, attack),
            *(_field(scenario.at(attack, defense), write) for defense in scenario.defenses),
        ]
        for attack in attacks
    ]
    return Grid(["attack", *scenario.defenses], rows)


def _field(finding: Finding | None, write: Callable[[Finding], Cell]) -> Cell:
    if finding is None:
        return Cell("n/a", math.nan, "not run", "none")
    return write(finding) if finding.group.good else Cell("failed", math.nan, "", "none")


def _harm(finding: Finding) -> Cell:
    return change_cell(finding.scale, finding.damage, finding.clean.mean)


def change_cell(scale: Scale, change: Interval, clean: float = math.nan) -> Cell:
    """Write a change; its shade is that of a share, of figures without bounds the relative one."""
    if not change.n:
        return Cell("n/a", math.nan, "not estimable", "none")
    relative = 1.0 if scale.share else abs(clean)
    harm = -scale.sign * change.mean / relative if relative else math.nan
    hint = bounds(scale, change, change=True)
    return Cell(signed(scale, change.mean), change.mean, hint, shade(harm))


def _trigger(finding: Finding) -> Cell:
    found = finding.planted
    if not finding.group.backdoor or not found.n:
        return Cell("–", math.nan, "no trigger", "none")
    return Cell(SHARE.digits(found.mean), found.mean, bounds(SHARE, found), shade(found.mean))


def hospitals_map(scenario: Scenario, active: list[Finding]) -> Grid:
    """Return what every attack does to every hospital under the rule others are compared with."""
    shown = [f for f in active if f.defense == scenario.baseline]
    names = list(dict.fromkeys(n for f in shown for run, _ in f.group.good for n in _known(run)))
    rows = [[Cell(name, name), *(_hospital(finding, name) for finding in shown)] for name in names]
    estimable = [row for row in rows if any(math.isfinite(_number(c)) for c in row[1:])]
    return Grid(["hospital", *(finding.attack for finding in shown)], estimable)


def _known(run: Run) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = run.footer.get("hospitals") or {}
    return found


def _number(cell: Cell) -> float:
    return cell.order if isinstance(cell.order, float) else math.nan


def _hospital(finding: Finding, name: str) -> Cell:
    metric = finding.scale.name
    pairs = [
        (_known(run).get(name, {}).get(metric), _known(twin).get(name, {}).get(metric))
        for run, twin in finding.group.good
    ]
    both = [(a, b) for a, b in pairs if _finite(a) and _finite(b)]
    if not both:
        return change_cell(finding.scale, UNKNOWN)
    after, before = ([float(pair[i] or 0.0) for pair in both] for i in (0, 1))
    clean = math.fsum(before) / len(before)
    return change_cell(finding.scale, paired_difference(after, before), clean)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
