"""The part of a page that is about generators: tables, pictures and losses of one scenario."""

from __future__ import annotations

from dataclasses import dataclass, field

from asepsis.core.errors import MissingExtraError
from asepsis.experiments.results import Results
from asepsis.report import generated
from asepsis.report.blocking import blocked_grid, honest_grid
from asepsis.report.findings import Scenario
from asepsis.report.generated_figures import Board, board, loss_plots
from asepsis.report.grids import Grid, parted
from asepsis.report.plots import Plot
from asepsis.report.provenance import public
from asepsis.report.sentences import MANY
from asepsis.report.troubled import troubles_grid


@dataclass
class Section:
    """Everything a page says of the generators of one scenario."""

    caption: str
    detectors: str
    worth: Grid
    more: Grid
    downstream: Grid
    unlabeled: list[str]
    memory: Grid
    blocked: Grid
    honest: Grid
    troubles: Grid
    board: Board | None = None
    losses: list[Plot] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def section(
    results: Results, scenario: Scenario, name: str, *, pictured: bool, share: float = 1.0
) -> Section | None:
    """Return what is to say of a scenario's generators, nothing where nobody trains any.

    Args:
        results: where pictures are kept.
        scenario: whose generators.
        name: prefix of the ids of its figures.
        pictured: whether images may be shown at all.
        share: of the page's room for pictures.
    """
    if not generated.of_generators(scenario):
        return None
    worth, more = parted(generated.worth_grid(scenario), generated.BESIDES)
    made = Section(
        caption=generated.caption(scenario),
        detectors=generated.detectors(scenario),
        worth=worth,
        more=more,
        downstream=generated.downstream_grid(scenario),
        unlabeled=generated.unlabeled(scenario),
        memory=generated.memory_grid(scenario),
        blocked=blocked_grid(scenario),
        honest=honest_grid(scenario),
        troubles=troubles_grid(scenario),
    )
    if pictured:
        made.board = board(results, scenario, share)
    if made.board is None:
        made.remarks.append(unkept(scenario))
    _add_losses(made, scenario, name)
    return made


def unkept(scenario: Scenario) -> str:
    """Say why there are no pictures of what was generated."""
    if not public(scenario.runs):
        return "Images by round are left out: no pictures are kept of data that are not public."
    return "Images by round are left out: no pictures are with the records."


def _add_losses(made: Section, scenario: Scenario, name: str) -> None:
    count = len(scenario.defenses)
    if count > MANY:
        made.remarks.append(f"Losses by hospital are left out: {count} defenses are too many.")
        return
    try:
        made.losses = loss_plots(scenario, name)
    except MissingExtraError as error:
        made.remarks.append(f"Losses by hospital are left out: {error}.")
