"""The threat matrix as tables: what each attack does, how hard it is to see, and what helps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from asepsis.experiments.detection import PASSIVE, Detection
from asepsis.experiments.matrix import Field, Matrix, Row, matrix, ranked, undefended
from asepsis.experiments.results import Results
from asepsis.experiments.severity import CUTOFFS, LEVELS
from asepsis.experiments.threats import Goal
from asepsis.metrics.intervals import Interval
from asepsis.report.again import Recipe, of_modality
from asepsis.report.grids import Cell, Grid
from asepsis.report.heat import shade
from asepsis.report.provenance import all_public
from asepsis.report.side_by_side import printable
from asepsis.report.wording import number, without_paths

SURVEY = "not public to us"
"""What the survey says of an attack: its table cannot be had, and nothing is made up for it."""
NOT_RUN = "–"
NOTHING = "nothing helps"
NOT_TRIED = "adaptive: not tried"
"""What a defense is told that nobody attacked who knew it: such a one is not called effective."""
HEADS = [
    "goal",
    "rank",
    "attack",
    "family",
    "attacker",
    "target",
    "modality",
    "severity without a defense",
    "level",
    "detection",
    "survey: severity",
    "survey: detection",
    "best defense",
    "left under it",
    "left by an attacker who knows it",
    "worst defense",
    "left under it",
]


@dataclass(frozen=True, slots=True)
class Map:
    """Attacks and defenses of one modality, and the numbered reasons for what is n/a.

    ``adaptive``: a line for every goal, under which defenses nobody attacked who knew them.
    ``prices``: what each defense loses where nobody attacks.
    """

    modality: str
    grid: Grid
    reasons: list[str]
    adaptive: list[str]
    prices: str
    again: Recipe


@dataclass(frozen=True, slots=True)
class Section:
    """What the report says of a threat matrix."""

    grid: Grid
    maps: list[Map]
    cutoffs: list[str]
    alone: bool
    again: Recipe


def section(results: Results) -> Section | None:
    """Return a study's threat matrix, ``None`` where it has none."""
    found = matrix(results)
    if not found.rows:
        return None
    alone = all(one.harm.n < 2 for row in found.rows for one in row.fields.values())
    hide = not all_public(results)
    maps = [
        _map(found, modality, of_modality(results, modality, f"matrix-{place}", hide=hide))
        for place, modality in enumerate(found.modalities, 1)
    ]
    again = of_modality(results, None, "matrix", hide=hide)
    return Section(table(found), maps, cutoffs(), alone, again)


def tables(results: Results) -> list[tuple[str, str, Grid]]:
    """Return every table of a threat matrix for export: name, caption, table."""
    found = section(results)
    if found is None:
        return []
    made = [("matrix", "Threat matrix", found.grid)]
    for item in found.maps:
        reasons = [
            [Cell(str(place), place), Cell(text)] for place, text in enumerate(item.reasons, 1)
        ]
        made += [
            (item.again.name, f"Harm in %, attack by defense, {item.modality}", item.grid),
            (
                f"{item.again.name}-reasons",
                f"What does not fit together, {item.modality}",
                Grid(["number", "reason"], reasons),
            ),
        ]
    return made


def cutoffs() -> list[str]:
    """Write the cut-offs of severity, one line a goal."""
    return [
        f"{goal.value}: "
        + ", ".join(
            f"{name} from {100 * cut:.0f}" for name, cut in zip(LEVELS[1:], cuts, strict=True)
        )
        for goal, cuts in CUTOFFS.items()
    ]


def table(found: Matrix) -> Grid:
    """Return the matrix: one row an attack and modality, ranked inside each goal."""
    return Grid(HEADS, [_line(found, row, rank) for rank, row in _numbered(ranked(found.rows))])


def _numbered(rows: list[Row]) -> Iterator[tuple[int, Row]]:
    """Count inside every goal; what cannot be estimated has no rank (0)."""
    counts: dict[str, int] = {}
    for row in rows:
        known = row.bare.known
        counts[row.threat.goal] = counts.get(row.threat.goal, 0) + known
        yield (counts[row.threat.goal] if known else 0), row


def _line(found: Matrix, row: Row, rank: int) -> list[Cell]:
    threat, order = row.threat, row.ranked
    # Where nothing is lost there is nothing to defend, and the smallest gain is no merit.
    harmed = row.bare.level != LEVELS[0] and not row.bare.untrained
    best = order[0] if order and harmed else None
    if best is not None and best[1].harm.mean >= row.bare.harm.mean:
        best = (NOTHING, best[1])
    worst = order[-1] if len(order) > 1 else None
    return [
        Cell(threat.goal.value, threat.goal.value),
        Cell(str(rank) if rank else NOT_RUN, rank or math.inf),
        Cell(row.attack, row.attack),
        *(Cell(text, text) for text in (threat.title, row.attacker, threat.target)),
        Cell(row.modality, row.modality),
        _severity(row.bare),
        Cell(row.bare.level or NOT_RUN, row.bare.harm.mean),
        _detection(row),
        Cell(SURVEY, SURVEY),
        Cell(SURVEY, SURVEY),
        *_defense(best),
        _adaptive(found, row, best),
        *_defense(worst),
    ]


def _defense(item: tuple[str, Field] | None) -> list[Cell]:
    if item is None:
        return [Cell(NOT_RUN, ""), Cell(NOT_RUN, -math.inf)]
    name, one = item
    return [Cell(name, name), _severity(one)]


def _adaptive(found: Matrix, row: Row, best: tuple[str, Field] | None) -> Cell:
    if best is None:
        return Cell(NOT_RUN, -math.inf)
    if best[0] == NOTHING:
        return Cell(NOT_RUN, -math.inf, "no defense that was run helps")
    worst = found.adapted(row.modality, row.threat.goal, best[0])
    if worst is None:
        return Cell(NOT_TRIED, -math.inf, f"nobody attacked {best[0]} knowing it")
    attack, one = worst
    cell = _severity(one)
    return Cell(cell.text, cell.order, f"{attack}: {cell.hint}")


def _untried(found: Matrix, modality: str, stacks: list[str]) -> Iterator[str]:
    """Say under which defenses nobody attacked who knew them, goal by goal."""
    for goal in dict.fromkeys(row.threat.goal for row in found.of(modality)):
        asked = [stack for stack in stacks if _played(found, modality, goal, stack)]
        missing = [stack for stack in asked if not found.adapted(modality, goal, stack)]
        if missing:
            where = "any defense" if missing == asked else ", ".join(missing)
            yield f"{goal.value}: {NOT_TRIED} under {where}"


def _played(found: Matrix, modality: str, goal: Goal, stack: str) -> bool:
    """Whether anything of a goal was run under a defense at all."""
    rows = [row for row in found.of(modality) if row.threat.goal is goal]
    some = any(row.fields[stack].level for row in rows if stack in row.fields)
    return some and not undefended(stack)


def _severity(one: Field) -> Cell:
    if one.reason:
        return Cell("n/a", -math.inf, without_paths(one.reason))
    if not one.level:
        return Cell(NOT_RUN, -math.inf, "not run")
    left = f"; {one.failed} runs ended without figures" if one.failed else ""
    if not math.isfinite(one.harm.mean):
        return Cell("n/e", -math.inf, f"not estimable{left}")
    note = "the model did not learn, attacked or not" if one.untrained else one.level
    marks = ("*" if one.untrained else "") + ("!" if one.failed else "")
    return Cell(percent(one.harm) + marks, one.harm.mean, f"{note}{left}")


def percent(found: Interval) -> str:
    """Write a share with its interval, in percent.

    Example:
        >>> percent(Interval(0.25, 0.2, 0.3, 5)), percent(Interval(0.25, math.nan, math.nan, 1))
        ('25.0 [20.0, 30.0]', '25.0')
    """
    mean, low, high = (number(100 * value, 1) for value in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]" if math.isfinite(found.low) else mean


def _detection(row: Row) -> Cell:
    if row.found is None:
        return Cell(NOT_RUN, math.inf, "no monitor listened")
    one, informed = row.found.general, row.found.informed
    if one.passive:
        return Cell(one.word, math.inf)
    if not math.isfinite(one.auc.mean):
        return Cell("n/e", math.inf, "too few hospital-rounds, or no detector was tuned")
    hint = f"a defender who knows the attack: {_figures(informed)}"
    return Cell(f"{one.word}: {_figures(one)}", -one.auc.mean, hint)


def _figures(one: Detection) -> str:
    """Write a detector's AUC, and what it costs to find nearly all."""
    if not math.isfinite(one.auc.mean):
        return "not estimable"
    return (
        f"{one.detector}, AUC {percent(one.auc)}, false alarms {percent(one.false_alarms)} at "
        f"recall {percent(one.recall)}"
    )


def _map(found: Matrix, modality: str, again: Recipe) -> Map:
    """Lay attacks out against defenses; reasons are numbered in the order of their first use."""
    rows = found.of(modality)
    stacks = list(dict.fromkeys(stack for row in rows for stack in row.fields))
    said = [one.reason for row in rows for one in _in_order(row, stacks) if one.reason]
    reasons = list(dict.fromkeys(said))
    lines = [
        [
            Cell(row.threat.goal.value, row.threat.goal.value),
            Cell(row.attack, row.attack, row.threat.title),
            *(_tile(one, reasons) for one in _in_order(row, stacks)),
        ]
        for row in rows
    ]
    heads = ["goal", "attack", *stacks]
    adaptive = list(_untried(found, modality, stacks))
    said = [without_paths(text) for text in reasons]
    return Map(modality, Grid(heads, lines), said, adaptive, _prices(found, modality), again)


def _prices(found: Matrix, modality: str) -> str:
    """Write what defenses cost without an attack; harm under one does not count it."""
    told = [
        f"{stack} {percent(lost) if math.isfinite(lost.mean) else 'not estimable'}"
        for (where, stack), lost in found.prices.items()
        if where == modality
    ]
    return ", ".join(told)


def _in_order(row: Row, stacks: list[str]) -> list[Field]:
    return [row.fields.get(stack, Field()) for stack in stacks]


def _tile(one: Field, reasons: list[str]) -> Cell:
    if one.reason:
        number_ = reasons.index(one.reason) + 1
        return Cell(f"n/a ({number_})", -math.inf, without_paths(one.reason), "none")
    cell = _severity(one)
    shown = shade(one.harm.mean) if one.known else "none"
    word = one.level if math.isfinite(one.harm.mean) else ""
    return Cell(f"{cell.text} {word}".strip(), cell.order, cell.hint, shown)


def print_matrix(results: Results, console: Console) -> bool:
    """Print a study's threat matrix, a table a goal, where it has one; and say whether it has."""
    found = section(results)
    if found is None:
        return False
    for goal in Goal:
        rows = [row for row in found.grid.rows if row[0].text == goal.value]
        if rows:
            console.print()
            console.print(printable(f"Threat matrix, {goal.value}: {MEASURED}", "bold"))
            console.print(_ranked_table(rows))
    for item in found.maps:
        for place, reason in enumerate(item.reasons, 1):
            console.print(printable(f" {item.modality} ({place}) n/a: {reason}", "dim"))
        if item.prices:
            console.print(printable(f" {item.modality}, {PRICES}: {item.prices}", "dim"))
        for line in item.adaptive:
            console.print(printable(f" {item.modality}, {line}", "dim"))
    for line in found.cutoffs:
        console.print(printable(f" {line}", "dim"))
    console.print(printable(f" {ELSEWHERE}", "dim"))
    return True


PRICES = "lost to the defense where nobody attacks, in %, not counted as harm"
MEASURED = "harm in % without a defense (see cut-offs), and the least that one leaves"
ELSEWHERE = "Every pair of attack and defense, curves and what defenses cost: in the report."
SHOWN = {
    "attack": "attack",
    "modality": "on",
    "severity without a defense": "harm",
    "level": "level",
    "detection": "noticed",
    "best defense": "best defense, and what it leaves",
}
ONLY_LOOKS = "only looks"


def _ranked_table(rows: list[list[Cell]]) -> Table:
    """Return the ranked attacks of one goal, with what a terminal has room for."""
    made = Table(*SHOWN.values())
    places = [HEADS.index(head) for head in SHOWN]
    for row in rows:
        *texts, noticed, best = (row[place].text for place in places)
        word = ONLY_LOOKS if noticed == PASSIVE else noticed.split(":")[0]
        left = row[places[-1] + 1].text
        told = f"{best.replace('monitor + ', '')}: {left}" if best != NOT_RUN else NOT_RUN
        made.add_row(*map(printable, [*texts, word, told]))
    return made
