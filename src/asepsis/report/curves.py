"""Curves by round of one attack under every defense, beside models that nobody attacked."""

from __future__ import annotations

from asepsis.experiments.results import Run, floor_of
from asepsis.report import plots
from asepsis.report.findings import Finding, Scenario
from asepsis.report.plots import Plot


def by_round(scenario: Scenario, name: str, attack: str) -> list[Plot]:
    """Draw the metric, and a trigger's success, of one attack under every defense."""
    scale = scenario.scale
    found = [f for f in scenario.findings if f.attack == attack and f.group.good]
    everything = [_curve(f, scale.name) for f in scenario.findings]
    last = plots.last_round(everything)
    if not found or found[0].passive or last == 1 or any(f.lasting for f in found):
        return []
    number = f"{name}-{scenario.attacks.index(attack)}"
    title = f"{scale.label}, {attack if found[0].attacked else 'no attack'}"
    lowest = max(0.0, plots.lowest_share(everything)) if scale.share else 0.0
    utility = plots.draw(
        _curves(found, scale.name),
        ylabel=f"{scale.label}{' (%)' if scale.share else ''}",
        starts_at=_starts_at(found[0]),
        share=scale.share,
        lowest=lowest,
        rounds=last,
    )
    made = [plots.finished(utility, f"{number}-u", title)]
    if any(f.group.backdoor for f in found):
        rate = "trigger in images" if found[0].group.generates else "attack success"
        success = plots.draw(
            _curves(found, "asr"),
            ylabel=rate + " (%)",
            starts_at=_starts_at(found[0]),
            rounds=last,
            references=_floors(found),
        )
        made.append(plots.finished(success, f"{number}-b", f"{rate}, {attack}"))
    return made


def _curve(finding: Finding, metric: str) -> plots.Curve:
    return plots.curve(finding.defense, [run for run, _ in finding.group.good], metric)


def _curves(found: list[Finding], metric: str) -> list[plots.Curve]:
    return [_curve(finding, metric) for finding in found]


def _starts_at(finding: Finding) -> int | None:
    active = finding.attacked and not finding.passive
    return finding.group.runs[0].cell.spec.threat.starts_at if active else None


def _floors(found: list[Finding]) -> list[plots.Curve]:
    """Draw what every defense's own twin says to the trigger."""
    return [
        plots.averaged(
            f"floor, {finding.defense}",
            [floor_of(run, twin, Run.curve) for run, twin in finding.group.good],
        )
        for finding in found
    ]
