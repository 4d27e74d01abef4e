"""Everything a page says of one scenario, gathered: tables, plots, pictures, sentences."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from asepsis.core.errors import AsepsisError, MissingExtraError
from asepsis.experiments.results import Results
from asepsis.report import (
    curves,
    defended,
    heat,
    imaged,
    inspected,
    lasting,
    leaked,
    paired,
    pictures,
    rocs,
    sections,
)
from asepsis.report.again import Recipe, of_findings, of_scenario
from asepsis.report.devices import devices_grid
from asepsis.report.findings import Scenario, scenarios
from asepsis.report.generated_section import Section, section
from asepsis.report.grids import Grid
from asepsis.report.heat import Heat
from asepsis.report.plots import Plot
from asepsis.report.promised import promised_grid
from asepsis.report.provenance import public
from asepsis.report.sentences import MANY, told
from asepsis.report.threat_words import threat_lines, threats_grid
from asepsis.report.wording import without_paths


@dataclass
class Block:
    """Everything a page says of one scenario."""

    name: str
    scenario: Scenario
    told: list[str]
    across: list[str]
    tiles: list[tuple[str, list[sections.Tile]]]
    findings: Grid
    activation: Grid
    defended: Grid
    proven: Grid
    inspected: Grid
    poisoned: Grid
    leakage: Grid
    images: Grid
    learned: list[tuple[str, Grid]]
    promised: Grid
    detection: Grid
    cost: Grid
    devices: Grid
    hospitals: Grid
    durability: Grid
    matched: Grid
    beside: Grid
    protocol: list[tuple[str, str]]
    threats: Grid
    threat: list[str]
    heats: list[Heat]
    again: Recipe
    generated: Section | None = None
    plots: list[Plot] = field(default_factory=list)
    lasting: list[Plot] = field(default_factory=list)
    rocs: list[Plot] = field(default_factory=list)
    triggered: list[pictures.Strip] = field(default_factory=list)
    inverted: list[pictures.Strip] = field(default_factory=list)
    galleries: list[pictures.Gallery] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def gathered(results: Results, *, patients: bool = False) -> list[Block]:
    """Gather all scenarios of a study; ``patients``: pictures of data that are not public, too."""
    found = scenarios(results)
    blocks = [block(results, scenario, i, patients) for i, scenario in enumerate(found)]
    for item in blocks:
        shown = patients or public(item.scenario.runs)
        item.generated = section(
            results, item.scenario, item.name, pictured=shown, share=1 / len(blocks)
        )
        if item.generated is not None:
            item.beside = Grid([], [])  # about answers, and a generator gives none
    return blocks


def block(results: Results, scenario: Scenario, number: int, patients: bool) -> Block:
    """Gather what a page says of a scenario; ``patients``: of data that are not public, too."""
    lead = f"{scenario.title}: "
    shown = public(scenario.runs)
    made = Block(
        name=f"s{number}",
        scenario=scenario,
        told=[sentence(line.removeprefix(lead)) for line in told(scenario)],
        across=scenario.attacks if _many(scenario) else scenario.defenses,
        tiles=_tiles(scenario),
        findings=sections.findings_grid(scenario),
        activation=sections.activation_grid(scenario),
        defended=defended.defenses_grid(scenario),
        proven=inspected.proven_grid(scenario),
        inspected=inspected.inputs_grid(scenario),
        poisoned=inspected.training_grid(scenario),
        leakage=inspected.leakage_grid(scenario),
        images=imaged.image_grid(scenario),
        learned=leaked.grids(scenario),
        promised=promised_grid(scenario),
        detection=sections.detection_grid(scenario),
        cost=sections.cost_grid(scenario),
        devices=devices_grid(results, scenario.title),
        hospitals=sections.hospitals_grid(scenario, suppress=not shown),
        durability=lasting.durability_grid(scenario),
        matched=lasting.matched_grid(scenario),
        beside=paired.figures_grid(scenario),
        protocol=sections.protocol_rows(scenario),
        threats=threats_grid(scenario),
        threat=threat_lines(scenario),
        heats=heat.maps(scenario),
        again=of_scenario(results, scenario, f"s{number}", hide=not (shown or patients)),
    )
    _add_plots(made, results, hide=not (shown or patients))
    if shown or patients:
        _add_pictures(made, results, patients)
    else:
        made.remarks.append("Pictures are left out: the data set is not public.")
    return made


def sentence(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]


def _many(scenario: Scenario) -> bool:
    return len(scenario.defenses) > MANY


def _tiles(scenario: Scenario) -> list[tuple[str, list[sections.Tile]]]:
    """Return the map's rows: attacks, or defenses where there are many."""
    attacks, defenses = scenario.attacks, scenario.defenses
    if _many(scenario):
        return [(d, [sections.tile(scenario.at(a, d)) for a in attacks]) for d in defenses]
    return [(a, [sections.tile(scenario.at(a, d)) for d in defenses]) for a in attacks]


def _add_pictures(block: Block, results: Results, patients: bool) -> None:
    try:
        block.triggered = pictures.triggered(block.scenario, patients=patients)
    except AsepsisError as error:
        block.remarks.append(f"No triggered images: {without_paths(str(error))}.")
    block.inverted = pictures.inversions(results, block.scenario)
    block.galleries = pictures.galleries(results, block.scenario)


def _add_plots(block: Block, results: Results, *, hide: bool) -> None:
    if _many(block.scenario):
        count = len(block.scenario.defenses)
        block.remarks.append(f"Curves are left out: {count} of them in one plot say nothing.")
        return
    try:
        for attack in block.scenario.attacks:
            block.plots += _by_round(block, results, attack, hide=hide)
        block.lasting = lasting.small_multiples(block.scenario, block.name)
        block.rocs = rocs.curves(block.scenario, block.name)
    except MissingExtraError as error:
        block.plots.clear()
        block.remarks.append(f"Curves are left out: {error}.")


def _by_round(block: Block, results: Results, attack: str, *, hide: bool) -> list[Plot]:
    """Draw one attack under every defense; the recipe makes these runs alone."""
    drawn = curves.by_round(block.scenario, block.name, attack)
    if not drawn:
        return []
    shown = [finding for finding in block.scenario.findings if finding.attack == attack]
    number = f"{block.name}-{block.scenario.attacks.index(attack)}"
    recipe = of_findings(results, block.scenario, shown, number, hide=hide)
    return [replace(plot, recipe=recipe) for plot in drawn]
