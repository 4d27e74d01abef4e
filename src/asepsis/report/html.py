"""One self-contained page: figures, curves, pictures, and how to make them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from asepsis.experiments.results import Results
from asepsis.experiments.store import write_atomic
from asepsis.metrics.measures import MATERIAL, MATERIAL_SHARE
from asepsis.report import claimed, sections
from asepsis.report.blocks import gathered, sentence
from asepsis.report.brief import brief
from asepsis.report.findings import PLANTED
from asepsis.report.matrix import section as matrix_section
from asepsis.report.page import page
from asepsis.report.provenance import all_public
from asepsis.report.sentences import Note, caveats, headline
from asepsis.report.toml_text import study_toml
from asepsis.report.wording import without_paths
from asepsis.report.words import words


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
    blocks = gathered(results, patients=include_patient_data)
    told_of = [item.scenario for item in blocks]
    relative = [b.scenario.scale.label for b in blocks if b.scenario.scale.measure.relative]
    notes = [Note(without_paths(note.text), note.loud) for note in caveats(results)]
    study = results.study
    return page(
        "report.html.j2",
        study=study,
        title=study.title or study.name,
        headline=[sentence(line) for line in headline(results)],
        blocks=blocks,
        matrix=matrix_section(results),
        brief=[replace(p, answer=without_paths(p.answer)) for p in brief(results, told_of)],
        words=words(told_of),
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
        made_images=any(item.generated for item in blocks),
        material_share=f"{100 * MATERIAL_SHARE:.0f}",
        planted=f"{100 * PLANTED:.0f}",
    )
