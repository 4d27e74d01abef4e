"""One self-contained page: figures, curves, pictures, and how to make them again."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from asepsis.core.errors import AsepsisError, MissingExtraError
from asepsis.experiments.results import Results, Run, floor_of
from asepsis.experiments.store import write_atomic
from asepsis.metrics.measures import MATERIAL, MATERIAL_SHARE
from asepsis.report import (
    claimed,
    defended,
    imaged,
    inspected,
    lasting,
    leaked,
    paired,
    pictures,
    plots,
    rocs,
    sections,
)
from asepsis.report.findings import PLANTED, Finding, Scenario, scenarios
from asepsis.report.generated_section import Section, section
from asepsis.report.grids import Grid
from asepsis.report.plots import Plot
from asepsis.report.promised import promised_grid
from asepsis.report.provenance import all_public, public
from asepsis.report.sentences import MANY, Note, caveats, headline, told
from asepsis.report.toml_text import study_toml
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
    hospitals: Grid
    durability: Grid
    matched: Grid
    beside: Grid
    protocol: list[tuple[str, str]]
    generated: Section | None = None
    plots: list[Plot] = field(default_factory=list)
    lasting: list[Plot] = field(default_factory=list)
    rocs: list[Plot] = field(default_factory=list)
    triggered: list[pictures.Strip] = field(default_factory=list)
    inverted: list[pictures.Strip] = field(default_factory=list)
    galleries: list[pictures.Gallery] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def write_report(results: Results, path: Path, *, include_patient_data: bool = False) -> Path:
    """Write the report of a study as one HTML file that loads nothing.

    Args:
        results: what the study found.
        path: the file; it appears whole or not at all, readable by its owner only.
        include_patient_data: show pictures of data that is not public; the page says so.

    Returns:
        The path of the file.

    Raises:
        StoreError: the file cannot be written.
    """
    write_atomic(path, render(results, include_patient_data=include_patient_data).encode())
    return path


def render(results: Results, *, include_patient_data: bool = False) -> str:
    """Return the page; the same results give the same text."""
    open_to_all = all_public(results)
    blocks = [
        _block(results, scenario, number, include_patient_data)
        for number, scenario in enumerate(scenarios(results))
    ]
    for block in blocks:
        block.generated = section(
            results,
            block.scenario,
            block.name,
            pictured=include_patient_data or public(block.scenario.runs),
            share=1 / len(blocks),
        )
        if block.generated is not None:
            block.beside = Grid([], [])  # about answers, and a generator gives none
    relative = [b.scenario.scale.label for b in blocks if b.scenario.scale.measure.relative]
    notes = [Note(without_paths(note.text), note.loud) for note in caveats(results)]
    study = results.study
    script = _asset("sort.js")
    return _template().render(
        study=study,
        title=study.title or study.name,
        headline=[_sentence(line) for line in headline(results)],
        blocks=blocks,
        loud=[note for note in notes if note.loud],
        quiet=[note for note in notes if not note.loud],
        marked=include_patient_data and not open_to_all,
        failures=sections.failures_grid(results),
        toml=study_toml(study, hide_files=not open_to_all and not include_patient_data),
        claims=claimed.claims_grid(results),
        claimed_by=claimed.source(results),
        profile=f" · {study.profile}" if study.profile else "",
        engine=results.engine,
        runs=len(results.runs),
        material=f"{100 * MATERIAL:.0f}",
        relative=relative,
        made_images=any(block.generated for block in blocks),
        material_share=f"{100 * MATERIAL_SHARE:.0f}",
        planted=f"{100 * PLANTED:.0f}",
        style=Markup(_asset("style.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def _asset(name: str) -> str:
    return resources.files("asepsis.report").joinpath(name).read_text(encoding="utf-8").strip()


@cache
def _environment() -> Environment:
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _template() -> Template:
    return _environment().from_string(_asset("report.html.j2"))


def _block(results: Results, scenario: Scenario, number: int, patients: bool) -> Block:
    lead = f"{scenario.title}: "
    shown = public(scenario.runs)
    block = Block(
        name=f"s{number}",
        scenario=scenario,
        told=[_sentence(line.removeprefix(lead)) for line in told(scenario)],
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
        hospitals=sections.hospitals_grid(scenario, suppress=not shown),
        durability=lasting.durability_grid(scenario),
        matched=lasting.matched_grid(scenario),
        beside=paired.figures_grid(scenario),
        protocol=sections.protocol_rows(scenario),
    )
    _add_plots(block)
    if shown or patients:
        _add_pictures(block, results, patients)
    else:
        block.remarks.append("Pictures are left out: the data set is not public.")
    return block


def _sentence(text: str) -> str:
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


def _add_plots(block: Block) -> None:
    if _many(block.scenario):
        count = len(block.scenario.defenses)
        block.remarks.append(f"Curves are left out: {count} of them in one plot say nothing.")
        return
    try:
        for attack in block.scenario.attacks:
            block.plots += _plots(block, attack)
        block.lasting = lasting.small_multiples(block.scenario, block.name)
        block.rocs = rocs.curves(block.scenario, block.name)
    except MissingExtraError as error:
        block.plots.clear()
        block.remarks.append(f"Curves are left out: {error}.")


def _plots(block: Block, attack: str) -> list[Plot]:
    scale = block.scenario.scale
    found = [f for f in block.scenario.findings if f.attack == attack and f.group.good]
    everything = [_curve(f, scale.name) for f in block.scenario.findings]
    last = plots.last_round(everything)
    if not found or found[0].passive or last == 1 or any(f.lasting for f in found):
        return []
    number = f"{block.name}-{block.scenario.attacks.index(attack)}"
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
