"""What went wrong on the way of runs that still ended with figures, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from asepsis.experiments.penalties import named
from asepsis.experiments.results import Run
from asepsis.experiments.troubles import NO_ANSWER, OF_HOSPITALS
from asepsis.report.findings import Scenario
from asepsis.report.generated import of_generators
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import counted, listed

HEADS = ["attack", "defense", "seed", "what went wrong"]
SHOWN = 3
SENTENCES = {
    "loss is no number": "{}'s loss is no number",
    "update is no number": "{}'s update is no number",
    "diverged hospital": "{} diverged",
    "began afresh": "{} began afresh",
    NO_ANSWER: "{} did not answer as asked",
}
"""What is said of a hospital; whatever else happened is said in the record's own words."""
DIVERGED = "diverged"


def rounds_text(rounds: Sequence[int]) -> str:
    """Write 0-based rounds as people count them.

    Example:
        >>> rounds_text([11, 12, 13]), rounds_text([6]), rounds_text([0, 4, 5])
        ('in rounds 12 to 14', 'in round 7', 'in rounds 1, 5 and 6')
    """
    known = sorted(set(rounds))
    if not known:
        return "in no round that is known"
    cuts = [i for i, (one, two) in enumerate(pairwise(known), start=1) if two - one > 1]
    parts = [known[a:b] for a, b in pairwise([0, *cuts, len(known)])]
    said = [text for part in parts for text in _stretch(part)]
    return f"in {'round' if len(known) == 1 else 'rounds'} {listed(said)}"


def _stretch(part: list[int]) -> list[str]:
    if len(part) > 2:
        return [f"{part[0] + 1} to {part[-1] + 1}"]
    return [str(number + 1) for number in part]


def sentence(run: Run, trouble: dict[str, Any]) -> str:
    """Say what went wrong, at whom and when, as in ``mode collapse in rounds 12 to 40``."""
    what, hospital = str(trouble["what"]), trouble.get("hospital")
    said = "the federation diverged" if what == DIVERGED else what
    if hospital is not None:
        name = named(run, int(hospital))
        said = SENTENCES.get(what, f"{what} at {{}}").format(name)
    return f"{said} {rounds_text([int(one) for one in trouble['rounds']])}"


def troubles_grid(scenario: Scenario) -> Grid:
    """Return everything that went wrong where hospitals train a generator, run by run."""
    if not of_generators(scenario):
        return Grid(HEADS, [])
    rows = [
        [
            Cell(finding.attack, finding.attack),
            Cell(finding.defense, finding.defense),
            Cell(str(run.cell.seed), run.cell.seed),
            Cell(sentence(run, trouble), str(trouble["what"])),
        ]
        for finding in scenario.findings
        for run in finding.group.runs
        for trouble in run.footer.get("troubles") or []
    ]
    return Grid(HEADS, rows)


def notes(scenario: Scenario) -> list[str]:
    """Say in short, of each kind of trouble, in how many runs there was any, and in which."""
    found: dict[str, dict[str, list[Run]]] = {}
    generators = of_generators(scenario)
    for finding in scenario.findings:
        where = f"{finding.attack} / {finding.defense}"
        for run in finding.group.runs:
            all_of_it = {str(trouble["what"]) for trouble in run.footer.get("troubles") or []}
            for what in all_of_it if generators else all_of_it & set(OF_HOSPITALS):
                found.setdefault(what, {}).setdefault(where, []).append(run)
    return [_note(scenario, what, found[what]) for what in sorted(found)]


def _note(scenario: Scenario, what: str, where: dict[str, list[Run]]) -> str:
    hit = sum(map(len, where.values()))
    said = [_told(what, place, runs) for place, runs in where.items()]
    more = [f"{len(said) - SHOWN} more"] if len(said) > SHOWN else []
    return (
        f"{what[:1].upper()}{what[1:]} in {hit} of {counted(len(scenario.runs), 'run')} "
        f"({scenario.title}): {listed([*said[:SHOWN], *more])}."
    )


def _told(what: str, place: str, runs: list[Run]) -> str:
    rounds = {int(r) for run in runs for t in run.footer["troubles"] if t["what"] == what
              for r in t["rounds"]}  # fmt: skip
    first = min(rounds, default=math.nan)
    seeds = f"{counted(len(runs), 'seed')}, " if len(runs) > 1 else ""
    when = rounds_text(sorted(rounds)) if len(runs) == 1 else f"from round {first + 1:.0f} on"
    return f"{place} ({seeds}{when})"
