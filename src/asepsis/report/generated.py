"""What generated images are worth, and what a generator gives away: tables of a scenario.

Distances are only ever shown under the name of the extractor whose features they are of, and
beside the same distance of real from other real images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from asepsis.experiments.figures import DOWNSTREAM, MEMORIZATION, OF_STRANGERS, SOURCES
from asepsis.experiments.results import Group, Run
from asepsis.metrics.intervals import Interval, paired_difference, t_interval
from asepsis.report.findings import NO_COMPANION, Finding, Scenario
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import Scale, bounds, counted, plus_minus

NOTHING = Cell("–", -math.inf)
SHARE = Scale("share")
UNTRAINED = "before any training"
REAL = "real images nobody trained on"
NETLESS = "normal, without network"
WORTH = [
    "kernel distance (real from real)",
    "its change to the twin",
    "to the honest hospitals alone",
    "trigger in generated images (%)",
    "in the twin's (%)",
    "Fréchet distance (real from real)",
    "precision (%)",
    "recall (%)",
    "diversity",
    "least within a class",
    "raw trigger rate (false alarms) (%)",
]
BESIDES = frozenset(
    {
        "Fréchet distance (real from real)",
        "precision (%)",
        "recall (%)",
        "raw trigger rate (false alarms) (%)",
    }
)
"""Columns of which a page has no room in its first table."""
TRIGGER_OF = {"asr": "the attack's own trigger"}
TRAINED_ON = {"real": "real", "synthetic": "synthetic", "both": "both"}
FIGURES = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy"}
MEMORY = {
    "nn_ratio": "nearest-neighbor distance ratio",
    "nn_ratio_pixels": "ratio in pixels",
    "memorized": "suspiciously near a training image (%)",
    "memorized_pixels": "suspiciously near in pixels (%)",
    "copies": "exact copies (%)",
}
UNLABELED = (
    "n/a: this generator knows no classes, so that its images have no labels to train a "
    "classifier with."
)
UNKNOWN_WORTH = "n/a: no classifier was trained on these images."


def of_generators(scenario: Scenario) -> bool:
    """Whether a scenario's hospitals train a generator."""
    return bool(_terms(scenario))


def caption(scenario: Scenario) -> str:
    """Name the eyes that distances are seen with, and how many images are compared."""
    said = list(dict.fromkeys(str(terms.get("extractor", "")) for terms in _terms(scenario)))
    eyes = said[0] if said and said[0] else "an extractor that the record does not name"
    if len(said) > 1:
        eyes += f" (first seed; {len(said)} were trained, one a seed)"
    counts = sorted({int(terms.get("images", 0)) for terms in _terms(scenario)})
    many = " or ".join(map(str, counts))
    floors = dict.fromkeys(str(terms["floor"]) for terms in _terms(scenario) if "floor" in terms)
    real = f"; real from real: {' or '.join(floors)}" if floors else ""
    sides = f"{many} real against {many} generated images"
    return f"Distances in the features of: {eyes}; {sides}{real}"


def detectors(scenario: Scenario) -> str:
    """Name what looks for triggers in generated images; nothing where nothing does."""
    terms = _terms(scenario)
    blind = [told for one in terms for told in _blind(one)]
    said = [
        str(about) for one in terms for name, about in _detectors(one) if name not in _fails(one)
    ]
    said, blind = list(dict.fromkeys(said)), list(dict.fromkeys(blind))
    more = f" ({counted(len(said) - 1, 'other')} likewise)" if len(said) > 1 else ""
    works = [f"Triggers are looked for by: {said[0]}{more}"] if said else []
    fails = [f"No rate, since no detector works: {'; '.join(blind)}"] if blind else []
    return ". ".join([*works, *fails])


def _blind(terms: dict[str, Any]) -> list[str]:
    """Say of every trigger without a detector that works which it is, and why."""
    return [
        f"{TRIGGER_OF.get(name, name.removeprefix('floor/'))}: {about}"
        for name, about in _detectors(terms)
        if name in _fails(terms)
    ]


def _fails(terms: dict[str, Any]) -> list[str]:
    return [str(name) for name in terms.get("blind") or ()]


def _terms(scenario: Scenario) -> list[dict[str, Any]]:
    return [run.footer["generator"] for run in scenario.runs if run.footer.get("generator")]


def _detectors(terms: dict[str, Any]) -> list[tuple[str, Any]]:
    found = terms.get("detectors") or {}
    return list(found.items()) if isinstance(found, dict) else [("", found)]


def worth_grid(scenario: Scenario) -> Grid:
    """Return how far generated images are from real ones, and how many carry the trigger.

    The first rows are of images that no federation has made.
    """
    first = [
        row
        for name, figures in (
            (UNTRAINED, _by_seed(scenario, lambda run: run.footer.get("prior"))),
            (NETLESS, _by_seed(scenario, _gaussian)),
        )
        if (row := _untaught(name, figures))
    ]
    return _grid(scenario, WORTH, _worth, first)


def _by_seed(
    scenario: Scenario, read: Callable[[Run], dict[str, float] | None]
) -> list[dict[str, float]]:
    """Return figures that all runs of a seed share, of its first run that has any."""
    found: dict[int, dict[str, float]] = {}
    for run in scenario.runs:
        if (figures := read(run)) and run.cell.seed not in found:
            found[run.cell.seed] = figures
    return list(found.values())


def _gaussian(run: Run) -> dict[str, float] | None:
    found: dict[str, float] | None = (run.footer.get("generator") or {}).get("gaussian")
    return found


def _untaught(name: str, figures: list[dict[str, float]]) -> list[Cell]:
    """Return the row of images that nobody trained for, one set of figures a seed."""
    if not figures:
        return []

    def over(figure: str) -> Interval:
        return t_interval([one.get(figure, math.nan) for one in figures])

    return [
        Cell(name, ""),
        NOTHING,
        _over_floor("kernel_distance", over("kernel_distance"), over("kernel_floor")),
        NOTHING,
        NOTHING,
        NOTHING,
        NOTHING,
        _over_floor("frechet_distance", over("frechet_distance"), over("frechet_floor")),
        *(
            _cell(Scale(figure), over(figure))
            for figure in ("precision", "recall", "diversity", "class_diversity")
        ),
        NOTHING,
    ]


def _worth(finding: Finding) -> list[Cell]:
    group = finding.group
    return [
        _beside(group, "kernel_distance", "kernel_floor"),
        _change(finding),
        _alone(finding),
        *_triggers(finding),
        _beside(group, "frechet_distance", "frechet_floor"),
        _figure(group, "precision"),
        _figure(group, "recall"),
        _diversity(group),
        _figure(group, "class_diversity"),
        _raw(finding),
    ]


def _grid(
    scenario: Scenario,
    heads: list[str],
    tell: Callable[[Finding], list[Cell]],
    first: Sequence[list[Cell]] = (),
) -> Grid:
    """Make a row of each finding with figures; columns that nobody fills are left out."""
    usable = [f for f in scenario.findings if f.group.good and not f.passive]
    rows = [[Cell(f.attack, f.attack), Cell(f.defense, f.defense), *tell(f)] for f in usable]
    rows = [*first, *rows]
    heads = ["attack", "defense", *heads]
    kept = [i for i in range(len(heads)) if i < 2 or any(row[i] is not NOTHING for row in rows)]
    rows = rows if len(kept) > 2 else []
    return Grid([heads[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _cell(scale: Scale, found: Interval, *, change: bool = False) -> Cell:
    if not found.n:
        return NOTHING
    text = plus_minus(scale, found, change=change)
    return Cell(text, found.mean, bounds(scale, found, change=change))


def _figure(group: Group, name: str) -> Cell:
    return _cell(Scale(name), group.metric(name))


def _beside(group: Group, name: str, floor: str) -> Cell:
    return _over_floor(name, group.metric(name), group.metric(floor))


def _over_floor(name: str, found: Interval, least: Interval) -> Cell:
    """Write a distance, and behind it that of real from other real images."""
    scale = Scale(name)
    if not found.n:
        return NOTHING
    behind = f" ({scale.digits(least.mean)})" if least.n else ""
    return Cell(plus_minus(scale, found) + behind, found.mean, bounds(scale, found))


def _change(finding: Finding) -> Cell:
    if not finding.attacked:
        return NOTHING
    scale = Scale("kernel_distance")
    return _cell(scale, finding.group.change(scale.name), change=True)


def _alone(finding: Finding) -> Cell:
    """Write the change to the honest hospitals alone: the attack has not their images to lose."""
    if finding.lonely:
        return Cell("–", -math.inf, NO_COMPANION)
    if finding.alone is None:
        return NOTHING
    return _cell(finding.scale, finding.alone, change=True)


def _diversity(group: Group) -> Cell:
    found = group.metric("diversity")
    if not found.n:
        return NOTHING
    gone = sum(run.tail("collapsed") > 0 for run, _ in group.good)
    text = plus_minus(Scale("diversity"), found)
    if gone:
        text += f", collapsed {gone}/{len(group.good)}"
    return Cell(text, found.mean, bounds(Scale("diversity"), found), "bad" if gone else "")


def _triggers(finding: Finding) -> list[Cell]:
    """Write the trigger's rate beyond false alarms, and the same in the twin's images."""
    if not (finding.attacked and finding.group.backdoor):
        return [NOTHING, NOTHING]
    own, beside = (_cell(SHARE, found) for found in (finding.asr, finding.floor))
    if own is NOTHING:
        runs = [run for run, _ in finding.group.good]
        told = [why for run in runs for why in _blind(run.footer.get("generator") or {})]
        own = Cell("–", -math.inf, told[0] if told else "no detector works")
    return [own, beside]


def _raw(finding: Finding) -> Cell:
    """Write how often the detector finds the trigger, in brackets in clean real images."""
    group = finding.group
    seen, false, true = (
        group.metric(f"backdoor/{name}") for name in ("seen", "false_positives", "true_positives")
    )
    raw = _cell(SHARE, seen)
    if not (finding.attacked and seen.n and false.n):
        return NOTHING
    finds = f"; it finds {SHARE.value(true.mean)} of stamped real images" if true.n else ""
    return Cell(f"{raw.text} ({SHARE.digits(false.mean)})", seen.mean, raw.hint + finds)


def downstream_grid(scenario: Scenario, figures: int = len(FIGURES)) -> Grid:
    """Return how good classifiers are that were trained on real, generated or both images.

    Only the first so many ``figures`` are shown. A generator without classes has n/a there;
    :func:`unlabeled` says why.
    """
    known = _known(scenario)[:figures]
    return _grid(scenario, _downstream_heads(known), lambda f: _downstream(f, known))


def _known(scenario: Scenario) -> list[str]:
    """Return the figures of classifiers that any run has."""
    tails = [run.footer.get("tail", {}) for run in scenario.runs]
    return [
        name
        for name in FIGURES
        if any(f"{DOWNSTREAM}{source}/{name}" in tail for tail in tails for source in SOURCES)
    ]


def _downstream_heads(known: list[str]) -> list[str]:
    heads = [f"{FIGURES[name]}, {TRAINED_ON[s]} (%)" for name in known for s in SOURCES]
    first = [f"{FIGURES[known[0]]} gained by adding them"] if known else []
    return [*heads, *first]


def _downstream(finding: Finding, known: list[str]) -> list[Cell]:
    group = finding.group
    names = [f"{DOWNSTREAM}{source}/{name}" for name in known for source in SOURCES]
    if not any(group.metric(name).n for name in names):
        why = unlabeled_reason(group)
        return [Cell("n/a", -math.inf, why) for _ in _downstream_heads(known)]
    cells = [_cell(SHARE, group.metric(name)) for name in names]
    return [*cells, _cell(SHARE, _gain(group, known[0]), change=True)] if known else cells


def _gain(group: Group, name: str) -> Interval:
    """Return what a classifier gains when generated images are added to the real ones."""
    runs = [run for run, _ in group.good]
    with_them, without = (
        [run.tail(f"{DOWNSTREAM}{source}/{name}") for run in runs] for source in ("both", "real")
    )
    return paired_difference(with_them, without)


def unlabeled_reason(group: Group) -> str:
    """Say why nothing could be learned from a group's images."""
    told = [run.footer.get("generator", {}).get("conditional") for run, _ in group.good]
    return UNLABELED if told and not any(told) else UNKNOWN_WORTH


def unlabeled(scenario: Scenario) -> list[str]:
    """Say of which generators the downstream table says nothing, and why."""
    reasons: dict[str, list[str]] = {}
    for finding in scenario.findings:
        good = [run for run, _ in finding.group.good]
        if good and not any(_downstream_of(run) for run in good):
            where = f"{finding.attack} / {finding.defense}"
            reasons.setdefault(unlabeled_reason(finding.group), []).append(where)
    whole = sum(bool(f.group.good) for f in scenario.findings)
    return [
        why if len(where) == whole else f"{why} So it is with {'; '.join(where)}."
        for why, where in reasons.items()
    ]


def _downstream_of(run: Run) -> bool:
    return any(name.startswith(DOWNSTREAM) for name in run.footer.get("tail", {}))


def memory_grid(scenario: Scenario) -> Grid:
    """Return how near generated images come to training images, beside ones never seen."""
    tails = [run.footer.get("tail", {}) for run in scenario.runs]
    every = dict.fromkeys(
        name.removeprefix(MEMORIZATION)
        for t in tails
        for name in t
        if name.startswith(MEMORIZATION) and not name.startswith(MEMORIZATION + OF_STRANGERS)
    )
    names = [*(n for n in MEMORY if n in every), *(n for n in every if n not in MEMORY)]
    heads = [MEMORY.get(name, name.replace("_", " ")) for name in names]
    floors = [_strangers(scenario, names)]
    shown = floors if any(cell is not NOTHING for cell in floors[0][2:]) else []
    return _grid(scenario, heads, lambda finding: _memory(finding.group, names), shown)


def _strangers(scenario: Scenario, names: Sequence[str]) -> list[Cell]:
    """Return the row of real images that nobody trained on, one set of figures a seed."""
    tails = _by_seed(scenario, _of_strangers)

    def cell(name: str) -> Cell:
        whole = f"{MEMORIZATION}{OF_STRANGERS}{name}"
        return _cell(Scale(whole), t_interval([tail.get(whole, math.nan) for tail in tails]))

    return [Cell(REAL, ""), NOTHING, *map(cell, names)]


def _of_strangers(run: Run) -> dict[str, float]:
    beside, tail = MEMORIZATION + OF_STRANGERS, run.footer.get("tail", {})
    return {name: float(value) for name, value in tail.items() if name.startswith(beside)}


def _memory(group: Group, names: Sequence[str]) -> list[Cell]:
    found = {name: t_interval(_tails(group, f"{MEMORIZATION}{name}")) for name in names}
    return [_cell(Scale(f"{MEMORIZATION}{name}"), interval) for name, interval in found.items()]


def _tails(group: Group, name: str) -> list[float]:
    return [run.tail(name) for run, _ in group.good]
