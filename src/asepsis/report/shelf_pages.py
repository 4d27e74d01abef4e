"""The pages of ``asepsis view``: what lies in a folder of results, with no link to elsewhere.

Pages name results by number, never by path: nothing of an address reaches the file system.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asepsis.experiments.folders import Found, load, results_folders
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import digest
from asepsis.report.grids import Cell, Grid
from asepsis.report.page import environment
from asepsis.report.provenance import without_files
from asepsis.report.sentences import headline
from asepsis.report.shelf_assessments import REPORT, Assessed, assessments, report_in
from asepsis.report.wording import Scale, counted, number, without_paths

MOST_STUDIES = 200
MOST_RUNS = 2000
MOST_ROUNDS = 500
MOST_FIGURES = 24
MOST_TEXT = 200_000


@dataclass(frozen=True, eq=False)
class Study:
    """A results folder as the index shows it."""

    name: str
    place: Path
    results: Results | None
    told: list[str]
    problem: str = ""

    @property
    def title(self) -> str:
        """What the study is called."""
        assert self.results is not None
        study = self.results.study
        return study.title or study.name


@dataclass(eq=False)
class Shelf:
    """All results at or below a folder; read again when they have changed."""

    root: Path
    _known: dict[Path, tuple[object, Study]] = field(default_factory=dict)

    def studies(self) -> dict[str, Study]:
        """Return what there is, newest name first, by a key that says nothing of its place."""
        places = sorted(results_folders(self.root), reverse=True)[:MOST_STUDIES]
        return {digest(self._name(place)): self._study(place) for place in places}

    def assessed(self) -> dict[str, Assessed]:
        """Return the assessments that the studies are steps of, by keys of the same kind."""
        places = [study.place for study in self.studies().values()]
        return {digest(self._name(one.place)): one for one in assessments(places, self.root)}

    def hidden(self) -> int:
        """Return how many results folders are too many to show."""
        return max(0, len(results_folders(self.root)) - MOST_STUDIES)

    def _name(self, place: Path) -> str:
        return place.name if place == self.root else place.relative_to(self.root).as_posix()

    def _study(self, place: Path) -> Study:
        stamp = _stamp(place)
        known = self._known.get(place)
        if known is None or known[0] != stamp:
            known = stamp, self._read(place)
            self._known[place] = known
        return known[1]

    def _read(self, place: Path) -> Study:
        found = load(place)
        told, problem = _told(found)
        results = None if problem else found.results
        return Study(self._name(place), place, results, told, without_paths(problem))


def _stamp(place: Path) -> object:
    """Return what changes when a results folder does."""
    files = [place / "study.json", *sorted((place / "runs").glob("*.jsonl"))]
    stats = [path.lstat() for path in files if path.exists()]
    return [(item.st_mtime_ns, item.st_size) for item in stats]


def _told(found: Found) -> tuple[list[str], str]:
    """Return the headline of some results, or why there is none."""
    if found.results is None:
        return [], found.problem
    try:
        return headline(found.results), ""
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return [], f"its records are not what asepsis wrote ({type(error).__name__})"


def index_page(shelf: Shelf, home: str) -> str:
    """Return the page of all studies; those of an assessment stand below it."""
    listed = {
        study.place: _listed(study, f"{home}{key}/") for key, study in shelf.studies().items()
    }
    above = [
        _assessed(one, f"{home}{key}/", [listed.pop(place) for place in one.steps])
        for key, one in shelf.assessed().items()
    ]
    shown = [*above, *listed.values()]
    hidden = shelf.hidden()
    more = f"{counted(hidden, 'folder')} more: name a folder closer to them." if hidden else ""
    return _render(page="index", title="Results", home=home, studies=shown, more=more)


def _assessed(one: Assessed, link: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    report = f"{link}{REPORT}" if report_in(one.place) is not None else ""
    return {"title": one.title, "answer": one.answer, "report": report, "steps": steps}


def _listed(study: Study, link: str) -> dict[str, Any]:
    if study.results is None:
        return {"name": study.name, "problem": study.problem}
    return {
        "name": study.name,
        "problem": "",
        "title": study.title,
        "link": link,
        "when": _when(study.results),
        "runs": _counted(study.results),
        "told": study.told,
        "report": f"{link}{REPORT}" if report_of(study) is not None else "",
    }


def _when(results: Results) -> str:
    started = [str(_observed(run).get("started", "")) for run in results.runs]
    return min(filter(None, started), default="not begun")


def _observed(run: Run) -> dict[str, Any]:
    found = run.lines[0].get("observed") if run.lines else None
    return found if isinstance(found, dict) else {}


def _counted(results: Results) -> str:
    ended = sum(run.ok for run in results.runs)
    total = counted(len(results.runs), "run")
    return total if ended == len(results.runs) else f"{total}, {ended} with figures"


def report_of(study: Study) -> bytes | None:
    """Return a study's report; ``None`` without one that is a plain file of bearable size."""
    return report_in(study.place)


def study_page(study: Study, home: str) -> str:
    """Return the page of one study: its runs."""
    assert study.results is not None
    runs = study.results.runs
    rows = [_run_row(number_, run) for number_, run in enumerate(runs[:MOST_RUNS])]
    hidden = len(runs) - len(rows)
    return _render(
        page="study",
        title=study.title,
        home=home,
        above=None,
        told=study.told,
        report=REPORT if report_of(study) is not None else "",
        runs=Grid(["run", "scenario", "attack", "defense", "seed", "status", "figure"], rows),
        more=f"{counted(hidden, 'run')} more." if hidden else "",
    )


def _run_row(place: int, run: Run) -> list[Cell]:
    cell, status = run.cell, str(run.footer["status"])
    labels = ", ".join(f"{key}={value}" for key, value in cell.labels)
    scenario = f"{cell.scenario} ({labels})" if labels else cell.scenario
    primary = str(run.resolved.get("primary", "accuracy"))
    value = run.tail(primary)
    return [
        Cell(str(place), place, hint=f"{place}"),
        *(Cell(text, text) for text in (scenario, cell.attack, cell.defense)),
        Cell(str(cell.seed), cell.seed),
        Cell(status, status, tone="" if run.ok else "bad"),
        Cell(f"{Scale(primary).label} {Scale(primary).value(value)}" if run.ok else "–", value),
    ]


def run_page(study: Study, place: int, home: str) -> str:
    """Return the page of one run: its record, to be read.

    Raises:
        LookupError: there is no such run.
    """
    assert study.results is not None
    if not 0 <= place < len(study.results.runs):
        raise LookupError(place)
    run = study.results.runs[place]
    cell, rounds = run.cell, run.rounds
    spec = json.dumps(without_files(cell.spec.model_dump(mode="json")), indent=1)
    message = without_paths(str(run.footer.get("message", "")))
    return _render(
        page="run",
        title=f"{cell.attack} / {cell.defense}, seed {cell.seed}",
        home=home,
        above=("./", study.title),
        about=_about(run),
        message=message[:MOST_TEXT],
        figures=_figures(run),
        rounds=_rounds(rounds[:MOST_ROUNDS]),
        more=f"The first {MOST_ROUNDS} of {len(rounds)} rounds." * (len(rounds) > MOST_ROUNDS),
        stages=_stages(run),
        spec=spec[:MOST_TEXT],
    )


def _about(run: Run) -> list[tuple[str, str]]:
    head = run.lines[0].get("result", {}) if run.lines else {}
    observed, resolved = _observed(run), run.resolved
    told = {
        "scenario": run.cell.scenario,
        "status": run.footer["status"],
        "started": observed.get("started", ""),
        "rounds": len(run.rounds),
        "hospitals": len(resolved.get("hospitals", [])),
        "hostile": resolved.get("hostile", ""),
        "engine": observed.get("engine", ""),
        "device": observed.get("device", ""),
        "numerics": head.get("numerics", ""),
        "code": head.get("code", ""),
        "protocol": resolved.get("protocol", ""),
        "data": resolved.get("data", ""),
    }
    return [(name, str(value)[:MOST_TEXT]) for name, value in told.items() if str(value)]


def _named(metrics: dict[str, Any]) -> list[str]:
    """Return the names of figures, without those of attacks that a twin was only asked about."""
    names = [name for name in metrics if not (name.startswith("floor") and "/" in name)]
    return names[:MOST_FIGURES]


def _figures(run: Run) -> Grid:
    tail, last = run.footer.get("tail", {}), run.footer.get("last", {})
    rows = [
        [
            Cell(Scale(name).label, name),
            Cell(Scale(name).value(float(tail[name])), float(tail[name])),
            Cell(Scale(name).value(float(last.get(name, math.nan))), float(last.get(name, "nan"))),
        ]
        for name in _named(tail)
    ]
    return Grid(["figure", "last rounds", "last round"], rows)


def _rounds(rounds: list[dict[str, Any]]) -> Grid:
    names = _named({name: None for item in rounds for name in item.get("metrics", {})})
    rows = []
    for item in rounds:
        values = [float(item.get("metrics", {}).get(name, math.nan)) for name in names]
        hostile, void = item.get("hostile", []), item.get("void") or ""
        rows.append(
            [
                Cell(str(item["round"]), int(item["round"])),
                *(Cell(Scale(n).value(v), v) for n, v in zip(names, values, strict=True)),
                Cell(", ".join(map(str, hostile)), len(hostile)),
                Cell(str(void), str(void)),
            ]
        )
    return Grid(["round", *(Scale(name).label for name in names), "hostile", "void"], rows)


def _stages(run: Run) -> Grid:
    rows = [
        [
            Cell(str(stage["stage"]), str(stage["stage"])),
            Cell(str(stage["room"]), str(stage["room"])),
            Cell(f"{number(100 * float(stage['changed']), 0)}%", float(stage["changed"])),
            Cell("yes" if stage["active"] else "no", str(stage["active"])),
        ]
        for stage in run.footer.get("activation", [])
    ]
    return Grid(["defense", "room", "changed", "active"], rows)


def _render(**values: Any) -> str:
    return environment().get_template("view.html.j2").render(**values)
