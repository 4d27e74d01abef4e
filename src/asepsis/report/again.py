"""How to make a figure again: the exact TOML of the runs behind it, and the commands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from asepsis.experiments.plan import titled
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Experiment, Study
from asepsis.experiments.spec import Scenario as Plan
from asepsis.report.findings import Finding, Scenario
from asepsis.report.provenance import public
from asepsis.report.toml_text import study_toml

AXES = ("attack", "defenses")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a reader saves and types to get a figure once more.

    ``whole`` says that the file holds everything: of data that are not public the place is left
    out. ``repeated`` marks a recipe that stands on the page before already.
    """

    file: str
    toml: str
    command: str
    whole: bool = True
    repeated: bool = False

    @property
    def name(self) -> str:
        """What the figures are called: the file's name without its end."""
        return self.file.removesuffix(".toml")


def of_scenario(results: Results, scenario: Scenario, name: str, *, hide: bool) -> Recipe:
    """Return the recipe of everything that a page says of a scenario."""
    planned = [item for item in results.study.scenarios if _is(results.study, item, scenario)]
    seeds = _seeds(scenario.runs)
    if not planned:
        return of_findings(results, scenario, scenario.findings, name, hide=hide)
    used = {"dataset": scenario.spec.dataset}
    same = {"experiment": planned[0].experiment.model_copy(update=used)}
    settled = {"title": scenario.title, "fallback": None, "fetch_seconds": None, "seeds": None}
    again = planned[0].model_copy(update=same | settled)
    return _recipe(results, [again], seeds, name, hide=hide)


def of_modality(results: Results, modality: str | None, name: str, *, hide: bool) -> Recipe:
    """Return the recipe of one part of a threat matrix, detectors' tuning included.

    ``modality`` ``None`` stands for all of them.
    """
    wanted = [
        _settled(results, title, item)
        for title, item in titled(results.study)
        if item.modality and modality in (None, item.modality)
    ]
    return _recipe(results, wanted, results.study.seeds, name, hide=hide)


def _settled(results: Results, title: str, planned: Plan) -> Plan:
    """Return a planned scenario with the data that it was run on, where those were a fallback."""
    if planned.fallback is None:
        return planned
    later = f"{title} ({planned.fallback['name']})"
    fell = any(run.cell.scenario == later for run in results.runs)
    used = planned.fallback if fell else planned.experiment.dataset
    experiment = planned.experiment.model_copy(update={"dataset": used})
    changed = {"title": later if fell else title, "experiment": experiment, "fallback": None}
    return planned.model_copy(update={**changed, "fetch_seconds": None})


def _is(study: Study, planned: Plan, scenario: Scenario) -> bool:
    """Whether a scenario of the plan became this one; a fallback's name stands behind its title."""
    title = next(name for name, item in titled(study) if item is planned)
    fallback = f"{title} ({planned.fallback['name']})" if planned.fallback else title
    return scenario.title in (title, fallback)


def of_findings(
    results: Results, scenario: Scenario, findings: Sequence[Finding], name: str, *, hide: bool
) -> Recipe:
    """Return the recipe of some findings alone; their attack-free twins come with them."""
    runs = [run for finding in findings for run in finding.group.runs]
    return _recipe(results, plans(scenario.title, runs), _seeds(runs), name, hide=hide)


def plans(title: str, runs: Iterable[Run]) -> list[Plan]:
    """Return a plan whose cells are those of some runs: one with axes where they are a product."""
    specs = {json.dumps(part, sort_keys=True): part for run in runs if (part := _shared(run))}
    several = list(specs.values())
    values = {axis: _distinct(spec.get(axis) or "none" for spec in several) for axis in AXES}
    rest = _distinct({k: v for k, v in spec.items() if k not in AXES} for spec in several)
    crossed = {axis: found for axis, found in values.items() if len(found) > 1}
    if len(rest) == 1 and len(several) == len(values["attack"]) * len(values["defenses"]):
        over: dict[str, list[Any]] = {**crossed}
        return [_plan(title, several[0], over)]
    return [_plan(f"{title} {number}", spec, {}) for number, spec in enumerate(several, start=1)]


def _plan(title: str, spec: dict[str, Any], over: dict[str, list[Any]]) -> Plan:
    experiment = Experiment.model_validate_json(json.dumps(spec))
    return Plan(title=title, experiment=experiment, over=over)


def _shared(run: Run) -> dict[str, Any]:
    """Return a run's specification without what a study sets itself."""
    left_out = {"seed", "probes", "name"}
    table: dict[str, Any] = run.cell.spec.model_dump(mode="json", exclude=left_out)
    return table


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())


def _seeds(runs: Iterable[Run]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(run.cell.seed for run in runs))


def _recipe(
    results: Results, scenarios: list[Plan], seeds: tuple[int, ...], name: str, *, hide: bool
) -> Recipe:
    about = {"scenarios": tuple(scenarios), "seeds": seeds, "claims": (), "profile": ""}
    study = results.study.model_copy(update=about)
    file = f"{name}.toml"
    command = f"asepsis run {file} --engine {results.engine} --out {name}"
    return Recipe(
        file=file,
        toml=study_toml(study, hide_files=hide),
        command=f"{command}\nasepsis export {name} --out {name}-files",
        whole=not hide or public(run for run in results.runs),
    )
