"""Everything that an assessment leaves in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asepsis.assess.junit import as_junit
from asepsis.assess.outcome import Outcome, as_json
from asepsis.assess.page import render
from asepsis.assess.sarif import as_sarif
from asepsis.assess.words import advised, borne_out, clean
from asepsis.core.errors import AsepsisError
from asepsis.experiments.results import Results, load_results
from asepsis.experiments.spec import Scenario
from asepsis.experiments.store import guarded, write_atomic
from asepsis.report.html import write_report
from asepsis.report.toml_text import study_toml

FINAL = "final"
"""The step whose runs have the last word."""
RECOMMENDED = "recommended.toml"


def write_outputs(
    outcome: Outcome, folder: Path, *, junit: Path | None = None, sarif: Path | None = None
) -> list[Path]:
    """Write page, JSON, JUnit XML, SARIF and the experiment to run, readable by their owner.

    A stack that was chosen and not borne out by the last step stands on the page alone: no file
    recommends it, and one that an earlier try left is deleted.

    Args:
        outcome: what an assessment found.
        folder: where its steps stand; without the last step's runs, what rests on them is left out.
        junit: also write the JUnit XML here.
        sarif: also write the SARIF here.

    Returns:
        What was written, the page first; every file appears whole or not at all.

    Raises:
        StoreError: a file cannot be written.
    """
    ran = _last_runs(folder)
    toml = recommended_toml(outcome, ran) if ran else ""
    full = write_report(ran, folder / FINAL / "report.html") if ran else None
    linked = full.relative_to(folder).as_posix() if full else ""
    texts = {
        folder / "report.html": render(outcome, toml=toml, full=linked),
        folder / "assessment.json": json_text(outcome),
        folder / "junit.xml": as_junit(outcome),
        folder / "assessment.sarif": as_sarif(outcome),
        **({folder / RECOMMENDED: toml} if toml and _advises(outcome) else {}),
        **({junit: as_junit(outcome)} if junit else {}),
        **({sarif: as_sarif(outcome)} if sarif else {}),
    }
    for path, text in texts.items():
        with guarded(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode(errors="replace"))
    if not _advises(outcome):
        with guarded(folder / RECOMMENDED):
            (folder / RECOMMENDED).unlink(missing_ok=True)
    return [*texts, *([full] if full else [])]


def json_text(outcome: Outcome) -> str:
    """Write an outcome as JSON without places of the machine, wherever a text has one.

    ``judged`` is the stack that the answer is about, ``recommended`` the one to run: today's
    where the last step does not bear the other one out.
    """
    table = _tidy(json.loads(as_json(outcome)))
    table["judged"] = table["recommended"]
    table["recommended"] = clean(advised(outcome))
    return json.dumps(table, allow_nan=False, indent=2) + "\n"


def _tidy(value: Any) -> Any:
    if isinstance(value, dict):
        return _keyed({key: _tidy(item) for key, item in value.items()})
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    return clean(value) if isinstance(value, str) else value


def _keyed(table: dict[str, Any]) -> dict[str, Any]:
    """Clean the keys; those that are alike then are numbered."""
    made: dict[str, Any] = {}
    for key, item in table.items():
        name, count = clean(key), 1
        while name in made:
            count += 1
            name = f"{clean(key)} ({count})"
        made[name] = item
    return made


def _advises(outcome: Outcome) -> bool:
    """Whether the stack that was judged is the one to run."""
    return borne_out(outcome) or not outcome.changes


def recommended_toml(outcome: Outcome, ran: Results) -> str:
    """Write the federation with the stack that was judged as an experiment that ``run`` takes.

    Places of data that are not public are left out; the first line says so.
    """
    used = ran.study.scenarios[0].experiment
    stack = {"defenses": outcome.stack, "attack": None}
    name = "recommended" if _advises(outcome) else "judged"
    title = f"{clean(outcome.name)}, with {clean(outcome.recommended)}"
    scenario = Scenario(title=title, experiment=used.model_copy(update=stack))
    study = ran.study.model_copy(
        update={
            "name": name,
            "title": title,
            "seeds": outcome.seeds,
            "skip_refused": False,
            "scenarios": (scenario,),
        }
    )
    head = f"# What asepsis assess judged, as an experiment: asepsis run {name}.toml"
    hint = "# Places of your data are left out: fill them in." if not outcome.public else ""
    lines = [head, *([hint] if hint else [])]
    return "\n".join(lines) + "\n" + study_toml(study, hide_files=not outcome.public)


def _last_runs(folder: Path) -> Results | None:
    if not (folder / FINAL).is_dir():
        return None
    try:
        return load_results(folder / FINAL)
    except AsepsisError:
        return None
