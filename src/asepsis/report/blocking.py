"""Whom defenses blocked and why, and what that costs honest hospitals when nobody attacks."""

from __future__ import annotations

import math
from collections.abc import Iterable

from asepsis.experiments.penalties import Block, blame, blamed, blocks, hostile, judged, named
from asepsis.experiments.results import Run
from asepsis.report.findings import Finding, Scenario
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import Scale, bounds, number, plus_minus

SHARE = Scale("share")
NOTHING = Cell("–", -math.inf)
BLOCKED = [
    "attack",
    "defense",
    "blocked",
    "who is",
    "by",
    "from round",
    "in runs",
    "lets through (%)",
    "why",
]
HONEST = [
    "defense",
    "benign rounds judged",
    "benign false positive rate (% of them)",
    "honest blocked, no attack",
    "attacked rounds with somebody honest penalized (%)",
    "honest blocked, under attack",
    "hostile blocked",
    "from round",
]
Key = tuple[str, str, bool, str]


def blocked_grid(scenario: Scenario) -> Grid:
    """Return who was blocked, by which stage, from which round on, and why.

    A defense that judges hospitals and blocked nobody has a row that says so.
    """
    rows = [row for finding in scenario.findings for row in _blocked(finding)]
    return Grid(BLOCKED, rows)


def _blocked(finding: Finding) -> list[list[Cell]]:
    runs = [run for run, _ in finding.group.good]
    head = [Cell(finding.attack, finding.attack), Cell(finding.defense, finding.defense)]
    found: dict[Key, list[Block]] = {}
    for run in runs:
        for block in blocks(run):
            key = (named(run, block.hospital), block.stage, block.hostile, block.reason)
            found.setdefault(key, []).append(block)
    if not found and finding.attacked and any(_judges(run) for run in runs):
        return [[*head, Cell("nobody", "nobody"), *[NOTHING] * (len(BLOCKED) - 3)]]
    return [[*head, *_told(key, mine, len(runs))] for key, mine in found.items()]


def _told(key: Key, mine: list[Block], runs: int) -> list[Cell]:
    name, stage, bad, reason = key
    share = max(block.share for block in mine)
    return [
        Cell(name, name),
        Cell("hostile" if bad else "honest", float(bad), tone="good" if bad else "bad"),
        Cell(stage, stage),
        _rounds(mine),
        Cell(f"{len(mine)} of {runs}", len(mine)),
        Cell(f"{number(100 * share, 1)}", share) if math.isfinite(share) else NOTHING,
        Cell(reason or "–", reason),
    ]


def _rounds(found: list[Block]) -> Cell:
    """Write the rounds from which on somebody was blocked, the first to the last of the runs."""
    if not found:
        return NOTHING
    first, last = (pick(block.round for block in found) + 1 for pick in (min, max))
    return Cell(str(first) if first == last else f"{first} to {last}", first)


def honest_grid(scenario: Scenario) -> Grid:
    """Return, for every defense that judges hospitals, how often honest ones are hit."""
    usable = [finding for finding in scenario.findings if finding.group.good]
    rows = [
        row
        for name in scenario.defenses
        if (row := _honest(name, [f for f in usable if f.defense == name and not f.passive]))
    ]
    return Grid(HONEST, rows)


def _honest(name: str, findings: list[Finding]) -> list[Cell]:
    twins = [run for f in findings if not f.attacked for run, _ in f.group.good]
    attacked = [run for f in findings if f.attacked for run, _ in f.group.good]
    if not any(_judges(run) for run in (*twins, *attacked)):
        return []
    caught = [block for run in attacked for block in blocks(run) if block.hostile]
    return [
        Cell(name, name),
        _count(blame(run)[1] for run in twins),
        _blame(twins),
        _hit(twins, honest=True),
        _blame(attacked),
        _hit(attacked, honest=True),
        _hit(attacked, honest=False),
        _rounds(caught),
    ]


def _judges(run: Run) -> bool:
    return any(judged(item) for item in run.rounds)


def _count(values: Iterable[int]) -> Cell:
    total = sum(values)
    return Cell(str(total), total)


def _blame(runs: list[Run]) -> Cell:
    found = blamed(runs)
    if not found.n:
        return NOTHING
    return Cell(plus_minus(SHARE, found), found.mean, bounds(SHARE, found))


def _hit(runs: list[Run], *, honest: bool) -> Cell:
    """Write how many honest or hostile hospitals were blocked, of how many, over all runs."""
    of = sum(_many(run, honest=honest) for run in runs)
    hit = {
        (i, b.hospital) for i, run in enumerate(runs) for b in blocks(run) if b.hostile != honest
    }
    return Cell(f"{len(hit)} of {of}", len(hit) / of) if of else NOTHING


def _many(run: Run, *, honest: bool) -> int:
    bad = len(hostile(run))
    return len(run.resolved.get("hospitals", [])) - bad if honest else bad
