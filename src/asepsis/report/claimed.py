"""A paper's claims beside what was measured here."""

from __future__ import annotations

from asepsis.experiments.claims import Measured, Outcome, compares, measured
from asepsis.experiments.figures import CHANGE, TIMES
from asepsis.experiments.results import Results
from asepsis.report.grids import Cell, Grid
from asepsis.report.lasting import life
from asepsis.report.wording import Scale, bounds, plus_minus

FIDELITY = {
    "code": "the authors' code was read",
    "paper": "the paper's text was read",
    "abstract": "only the abstract is public, the rest is our interpretation",
    "own": "our own study",
}
LIVES = ("lifespan", "half_life")
SAID = {
    Outcome.MORE: ("outlived it by", "higher by"),
    Outcome.NOT_MORE: ("did not outlive it:", "not higher:"),
    Outcome.UNCLEAR: ("unclear:", "unclear:"),
}


def claims_grid(results: Results) -> Grid:
    """One row a claim: what is said, of which cell, the paper's figure and ours."""
    heads = ["the paper's claim", "measured on", "paper's figure", "measured here", "seeds"]
    return Grid(heads, [_row(item) for item in measured(results)])


def source(results: Results) -> str:
    """Say whose claims they are, and how sure we are of the method."""
    study = results.study
    sure = FIDELITY.get(study.fidelity, "")
    whose = f"Paper: {study.paper}. " if study.paper else ""
    return f"{whose}Fidelity: {study.fidelity}{f' ({sure})' if sure else ''}."


def _row(item: Measured) -> list[Cell]:
    claim, value = item.claim, item.value
    where = f"{claim.attack}{f' against {claim.against}' if claim.against else ''}, {claim.defense}"
    where += f" instead of {claim.instead_of}" if claim.instead_of else ""
    where += f", {item.group.scenario}" if item.group and claim.scenario else ""
    scale = _scale(item)
    hint = bounds(scale, value, change=_is_change(item)) if value.n else ""
    return [
        Cell(claim.says, claim.says),
        Cell(where, where),
        Cell(_paper(item, scale)),
        Cell(_here(item, scale), value.mean, hint),
        Cell(str(value.n) if item.group else "–", value.n),
    ]


def _scale(item: Measured) -> Scale:
    if item.claim.metric != CHANGE:
        return Scale(item.claim.metric)
    return Scale(item.group.primary if item.group else "accuracy")


def _is_change(item: Measured) -> bool:
    return item.claim.metric == CHANGE or compares(item.claim)


def _paper(item: Measured, scale: Scale) -> str:
    said, unit = item.claim.paper, item.claim.unit
    if isinstance(said, str):
        return said
    if unit:
        return f"{said:g} {unit}"
    return scale.change(said) if _is_change(item) else scale.value(said)


def _here(item: Measured, scale: Scale) -> str:
    claim = item.claim
    if item.group is None:
        return "not part of this run"
    if not item.value.n:
        return "not measured"
    if compares(claim):
        return _compared(item, scale)
    if claim.metric in LIVES and item.durability is not None:
        return life(item.durability, claim.metric, unit=" rounds")
    return f"{plus_minus(scale, item.value, change=_is_change(item))}{_unit(item, scale)}"


def _unit(item: Measured, scale: Scale) -> str:
    if scale.share and _is_change(item):
        return " points"
    return f"{' ' * (not scale.share)}{scale.unit}"


def _compared(item: Measured, scale: Scale) -> str:
    said = SAID[item.outcome][0 if item.claim.metric in TIMES else 1]
    figure = plus_minus(scale, item.value, change=item.outcome is not Outcome.MORE)
    text = f"{said} {figure}{_unit(item, scale)}"
    weaker = "; not matched: their strength at departure differs by more than 10 points"
    return text + (weaker if item.matched is False else "")
