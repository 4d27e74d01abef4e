"""Results as they are shown: with the files that pictures are made from, or without site names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from asepsis.core.errors import ConfigError
from asepsis.experiments.patients import HIDDEN, Screen, private, renamed
from asepsis.experiments.plan import Refused
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Study, parse
from asepsis.experiments.store import Line


def located(results: Results, data: Iterable[str]) -> Results:
    """Say where a user's own data lie, which records do not: ``PATH``, or ``OPTION=PATH``.

    Raises:
        ConfigError: a path was given for something that the records do not hide.
    """
    hidden = {
        key
        for run in results.runs
        for key, value in run.cell.spec.dataset.items()
        if isinstance(value, str) and value.startswith(HIDDEN[:-1])
    }
    given = dict(_given(item, hidden) for item in data)
    return replace(results, runs=[_with_files(run, given) for run in results.runs])


def _given(item: str, hidden: set[str]) -> tuple[str, str]:
    option, equals, path = item.partition("=")
    option, path = (option, path) if equals and option in hidden else ("path", item)
    if option not in hidden:
        fix = f"one of: {', '.join(sorted(hidden))}" if hidden else "leave --data out"
        raise ConfigError("the records hide no such file", place="--data", got=option, fix=fix)
    return option, path


def _with_files(run: Run, given: dict[str, str]) -> Run:
    cell = run.cell
    if not private(cell.spec):
        return run
    spec = cell.spec.model_copy(update={"dataset": {**cell.spec.dataset, **given}})
    return replace(run, cell=replace(cell, spec=spec, known=cell.digest))


def under_pseudonyms(results: Results) -> Results:
    """Call the sites ``site 1``, ``site 2``, ... in the order of their names."""
    names = sorted({site for run in results.runs for site in _sites(run)})
    sites = {name: f"site {number}" for number, name in enumerate(names, start=1)}
    if not sites:
        return results
    screen = Screen(sites=sites)
    study: Study = parse(Study, screen.table(results.study.model_dump(mode="json")))
    return replace(
        results,
        study=study,
        runs=[_renamed(run, sites) for run in results.runs],
        notes=tuple(screen.words(note) for note in results.notes),
        refused=tuple(Refused(**screen.table(asdict(item))) for item in results.refused),
    )


def _sites(run: Run) -> Iterator[str]:
    """Return the real sites of a run; hospitals that were made up have telling names already."""
    apart = run.resolved.get("unseen", {}).get("hospital")
    partition = run.cell.spec.partition.get("name")
    names = [*run.resolved.get("hospitals", []), *([apart] if apart else [])]
    if partition == "virtual":
        names = [name.rpartition("/")[0] or name for name in names]
    yield from (name for name in names if not name.startswith("hospital-"))


def _renamed(run: Run, sites: dict[str, str]) -> Run:
    cell = run.cell
    labels = tuple((axis, renamed(text, sites)) for axis, text in cell.labels)
    federation = cell.spec.federation
    unseen = federation.unseen
    if isinstance(unseen, str):
        federation = federation.model_copy(update={"unseen": sites.get(unseen, unseen)})
    shown = replace(
        cell,
        spec=cell.spec.model_copy(update={"federation": federation}),
        known=cell.digest,
        scenario=renamed(cell.scenario, sites),
        attack=renamed(cell.attack, sites),
        defense=renamed(cell.defense, sites),
        labels=labels,
    )
    return replace(run, cell=shown, lines=[_line(line, sites) for line in run.lines])


def _line(line: Line, sites: dict[str, str]) -> Line:
    if line.get("type") not in ("header", "footer"):
        return line
    return {**line, "result": _without_names(line["result"], sites)}


def _without_names(value: Any, sites: dict[str, str], key: str = "") -> Any:
    """Rename sites wherever a record names them, and nowhere else."""
    if isinstance(value, dict):
        named = key in ("hospitals", "message")
        return {
            (renamed(name, sites) if named else name): _without_names(item, sites, name)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_without_names(item, sites, key) for item in value]
    where = ("hospitals", "hospital", "whose", "message", "unseen")
    return renamed(value, sites) if isinstance(value, str) and key in where else value
