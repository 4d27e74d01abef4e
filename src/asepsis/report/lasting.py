"""What is left of backdoors after their attackers left: tables, sentences, curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from asepsis.experiments.durability import Durability, excess_curve
from asepsis.experiments.naming import row_label
from asepsis.metrics.durability import MATERIAL, matched, survival
from asepsis.metrics.intervals import Interval, holm
from asepsis.report import plots
from asepsis.report.findings import ALPHA, Finding, Scenario
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import NONE, Scale, bounds, counted, listed, plus_minus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE, LIFE, AREA = Scale("excess_at_departure"), Scale("lifespan"), Scale("area")
RATES = ("ASR", "floor", "excess")
ENOUGH = 3
"""Survival curves are drawn from this many seeds on."""


def lasting(scenario: Scenario) -> list[tuple[Finding, Durability]]:
    """Return the findings whose attackers left before the end."""
    return [(f, f.lasting) for f in scenario.findings if f.lasting is not None and f.group.good]


def strength(item: Durability) -> float:
    """Return the mean excess at departure."""
    return item.metric("excess_at_departure").mean


def life(item: Durability, metric: str = "lifespan", unit: str = "") -> str:
    """Write a lifespan over seeds: its restricted mean, or ``>N`` where every backdoor lived on.

    A single run is written as it is; where some lived on, the mean is a lower bound and says so.
    ``(n=k)`` follows where not all runs have one: no backdoor was planted in the others, or a
    clean model left nothing to measure.
    """
    lives = item.lives(metric)
    known = [one for one in lives if math.isfinite(one.within(item.horizon))]
    if not known:
        return NONE if lives else "–"
    alive = sum(one.outlives(item.horizon) for one in known)
    few = f" (n={len(known)})" if len(known) < len(item.runs) else ""
    if alive == len(known):
        return f">{item.horizon}{unit}{few}"
    if len(known) == 1:
        return f"{known[0]}{unit}{few}"
    mean = f"{plus_minus(LIFE, item.metric(metric))}{unit}"
    return f"{mean}, {alive} of {len(known)} >{item.horizon}{few}" if alive else f"{mean}{few}"


def durability_grid(scenario: Scenario) -> Grid:
    """Strength at departure, and how long it lasted."""
    rows = [_row(finding, item) for finding, item in lasting(scenario)]
    heads = ["attack", "defense"]
    of_images = any(finding.group.generates for finding in scenario.findings)
    names = ("trigger in images", "without attack", "excess") if of_images else RATES
    heads += [f"{name} at departure (%)" for name in names]
    heads += ["lifespan (rounds)", "half-life (rounds)", "area (rounds)", "seeds"]
    return Grid(heads, rows)


def _row(finding: Finding, item: Durability) -> list[Cell]:
    strengths = [item.metric(f"{name}_at_departure") for name in ("asr", "floor", "excess")]
    lived, halved, area = (item.metric(name) for name in ("lifespan", "half_life", "area"))
    return [
        Cell(finding.attack, finding.attack),
        Cell(finding.defense, finding.defense),
        *(Cell(plus_minus(SHARE, x), x.mean, bounds(SHARE, x)) for x in strengths),
        Cell(life(item), lived.mean, bounds(LIFE, lived)),
        Cell(life(item, "half_life"), halved.mean, bounds(LIFE, halved)),
        Cell(plus_minus(AREA, area), area.mean, bounds(AREA, area)),
        Cell(str(len(item.runs)), len(item.runs)),
    ]


def matched_grid(scenario: Scenario) -> Grid:
    """Lifespans of those attacks that left equally strong backdoors, pair by pair."""
    pairs = [pair for defense in scenario.defenses for pair in _pairs(scenario, defense)]
    gaps = [one.minus(other, "lifespan") for (_, one), (_, other) in pairs]
    adjusted = holm([gap.p for gap in gaps]).tolist()
    rows = [
        [
            Cell(f.attack, f.attack),
            Cell(g.attack, g.attack),
            Cell(f.defense, f.defense),
            Cell(f"{_at(one)} and {_at(other)}"),
            Cell(plus_minus(LIFE, gap, change=True), gap.mean, bounds(LIFE, gap, change=True)),
            Cell(_outlived(gap, p), _outlived(gap, p)),
        ]
        for ((f, one), (g, other)), gap, p in zip(pairs, gaps, adjusted, strict=True)
    ]
    heads = ["attack", "compared with", "defense", "excess at departure (%)"]
    return Grid([*heads, "difference in lifespan (rounds)", "so it"], rows)


def _pairs(
    scenario: Scenario, defense: str
) -> list[tuple[tuple[Finding, Durability], tuple[Finding, Durability]]]:
    own = {f.attack: (f, item) for f, item in lasting(scenario) if f.defense == defense}
    strengths = {name: strength(item) for name, (_, item) in own.items()}
    return [(own[one], own[other]) for one, other in matched(strengths)]


def _at(item: Durability) -> str:
    return SHARE.digits(strength(item))


def _outlived(gap: Interval, p: float) -> str:
    if not p < ALPHA:
        return "unclear"
    return "outlived it" if gap.mean > 0 else "did not outlive it"


def in_short(item: Durability) -> list[str]:
    """Write a backdoor's excess when its attacker left, and its lifespan, as short lines."""
    planted = item.metric("excess_at_departure")
    lines = [f"excess {plus_minus(SHARE, planted)}"]
    return [*lines, f"lived {life(item)}"] if planted.mean >= MATERIAL else lines


def outlook(scenario: Scenario) -> str:
    """Say which backdoors lived longest under the rule that others are compared with."""
    planted = [
        (finding.attack, item)
        for finding, item in lasting(scenario)
        if finding.defense == scenario.baseline and strength(item) >= MATERIAL
    ]
    if not planted:
        return ""
    ranked = sorted(planted, key=lambda pair: _longest_first(pair[1]))
    lives = [f"{name} {life(item)}" for name, item in ranked]
    horizon = ranked[0][1].horizon
    return (
        f"After the attackers left, backdoors lived (rounds, followed for {horizon}): "
        f"{listed(lives)}."
    )


def _longest_first(item: Durability) -> tuple[bool, float]:
    mean = item.metric("lifespan").mean
    return math.isnan(mean), -mean


def lived(item: Durability) -> str:
    """Say in a sentence how long a backdoor lasted."""
    lives = item.lives()
    if len(item.lost) == len(item.runs):
        return "how long it lasted is not known"
    if all(one.rounds == 0 and not one.censored for one in lives):
        return "it was below half by then"
    text = life(item, unit=" rounds")
    if text.startswith(">") and not item.lost:
        return f"it still lived when the runs ended, {counted(item.horizon, 'round')} later"
    return f"it lived {text} after the attacker left"


def small_multiples(scenario: Scenario, name: str) -> list[plots.Plot]:
    """Draw, for every defense, clean figures and excess success by round, a line an attack."""
    made: list[plots.Plot] = []
    found = sorted(lasting(scenario), key=lambda pair: scenario.defenses.index(pair[0].defense))
    everything = [_utility(f) for f, _ in found]
    lowest = plots.lowest_share(everything) if scenario.scale.share else 0.0
    for defense, pairs in groupby(found, key=lambda pair: pair[0].defense):
        own = list(pairs)
        number = f"{name}-d{scenario.defenses.index(defense)}"
        clean = f"{scenario.scale.label}, {defense}"
        made.append(plots.finished(_clean(scenario, own, lowest), f"{number}-u", clean))
        excess = f"excess attack success, {defense}"
        made.append(plots.finished(_excess(own), f"{number}-x", excess))
        planted = [pair for pair in own if strength(pair[1]) >= MATERIAL]
        if max((len(item.lives()) for _, item in planted), default=0) >= ENOUGH:
            alive = f"backdoors alive, {defense}"
            made.append(plots.finished(_survival(planted), f"{number}-k", alive))
    return made


def _utility(finding: Finding) -> plots.Curve:
    runs = [run for run, _ in finding.group.good]
    return plots.curve(finding.attack, runs, finding.scale.name)


def _clean(scenario: Scenario, own: Sequence[tuple[Finding, Durability]], lowest: float) -> Figure:
    scale = scenario.scale
    return plots.draw(
        [_utility(finding) for finding, _ in own],
        ylabel=f"{scale.label}{' (%)' if scale.share else ''}",
        attacked=_attacked(own),
        rounds=_rounds(own),
        share=scale.share,
        lowest=max(0.0, lowest),
        references=_twins(own, scale.name),
    )


def _twins(own: Sequence[tuple[Finding, Durability]], metric: str) -> list[plots.Curve]:
    """Draw what nobody attacked once for every federation, named where there are several."""
    distinct = {tuple(t.cell.spec.digest() for _, t in f.group.good): f.group for f, _ in own}
    return [
        plots.curve(
            row_label("nobody attacks", group.labels if len(distinct) > 1 else ()),
            [twin for _, twin in group.good],
            metric,
        )
        for group in distinct.values()
    ]


def _excess(own: Sequence[tuple[Finding, Durability]]) -> Figure:
    curves = [
        plots.averaged(f.attack, [excess_curve(run, twin) for run, twin in f.group.good])
        for f, _ in own
    ]
    return plots.draw(
        curves,
        ylabel="excess attack success (%)",
        attacked=_attacked(own),
        lowest=min(0.0, plots.lowest_share(curves)),
        rounds=_rounds(own),
    )


def _attacked(own: Sequence[tuple[Finding, Durability]]) -> list[int]:
    """Return the rounds in which a hostile hospital took part in any run, 0-based."""
    return sorted({round_ for f, _ in own for run, _ in f.group.good for round_ in run.attacked})


def _rounds(own: Sequence[tuple[Finding, Durability]]) -> int:
    return max(f.group.runs[0].cell.spec.federation.rounds for f, _ in own)


def _survival(own: Sequence[tuple[Finding, Durability]]) -> Figure:
    known = [(finding.attack, survival(item.lives())) for finding, item in own if item.lives()]
    curves = [(attack, found.rounds, found.share) for attack, found in known]
    horizon = own[0][1].horizon
    return plots.steps(curves, horizon, "rounds after departure", "backdoors alive (%)")
