"""From a study to its cells: one experiment a combination, every attacked one with a twin."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asepsis.core.errors import AsepsisError, ConfigError, DataError, did_you_mean
from asepsis.core.registry import build, find, lookup
from asepsis.data.download import fetch_limit
from asepsis.data.guarded import load_guarded
from asepsis.experiments.figures import check_figures
from asepsis.experiments.library import DEFAULT_PROFILE, profiles, read_toml, studies
from asepsis.experiments.naming import Labels, check_claims, label_of, stack_names
from asepsis.experiments.spec import (
    WATCHING,
    Component,
    Experiment,
    Scenario,
    Study,
    assign,
    parse,
)

__all__ = ["Cell", "Plan", "label_of", "load_study", "plan_study", "studies", "study_from"]

EXPERIMENT = tuple(Experiment.model_fields)


@dataclass(frozen=True, eq=False)
class Cell:
    """One run of a study, and the labels it has in tables."""

    scenario: str
    attack: str
    defense: str
    seed: int
    spec: Experiment
    labels: Labels = ()
    watch: tuple[Component, ...] = ()
    known: str = ""
    """The hash of the whole specification, where ``spec`` is what was written of it."""

    @property
    def digest(self) -> str:
        """The hash of the whole specification."""
        return self.known or self.spec.digest()

    @property
    def twin(self) -> Experiment:
        """The attack-free twin, with those who watch it alone."""
        made = self.spec.twin()
        return made.model_copy(update={"observe": (*made.observe, *self.watch)})


@dataclass(frozen=True)
class Refused:
    """What a study leaves out since it does not fit together, and the refusal's own words.

    ``attack`` is the name of an attack or of an observer.
    """

    scenario: str
    attack: str
    defense: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """All cells of a study, and what a reader must be told before any figure.

    ``checked``: every cell has been put together.
    """

    study: Study
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    checked: bool = False


ASSESSMENT = frozenset({"data", "limits", "minutes", "threats"})
"""Keys that only a file for ``asepsis assess`` has."""


def load_study(
    name: str, overrides: Mapping[str, Any] | None = None, profile: str | None = None
) -> Study:
    """Read a built-in study by name, or a TOML file by path.

    A file holds either one experiment (its fields at the top level, with optional ``seeds`` and
    ``[over]``) or a study with ``[[scenarios]]``. ``profile`` chooses among a study's files, such
    as ``quick`` (taken when left out) or ``full``.

    Raises:
        ConfigError: no such study or profile, or the file is wrong; every problem is reported.
    """
    data = read_toml(name, profile)
    if ASSESSMENT & set(data):
        raise ConfigError(
            "a question to asepsis assess, no experiment",
            place=name,
            got=f"the keys {', '.join(sorted(ASSESSMENT & set(data)))}",
            fix=f"asepsis assess {name}",
        )
    if len(profiles(name)) > 1:
        data["profile"] = profile or DEFAULT_PROFILE
    return study_from(data, Path(name).stem, overrides)


def study_from(
    data: dict[str, Any], label: str, overrides: Mapping[str, Any] | None = None
) -> Study:
    """Validate a study, or a single experiment, given as a table."""
    wrapped = "scenarios" not in data
    if not isinstance(data.get("scenarios", []), list):
        raise ConfigError(
            "input should be a valid array",
            place="scenarios",
            got=data["scenarios"],
            fix="use [[scenarios]]",
        )
    if wrapped:
        data = _one_scenario(data, label)
    if not all(isinstance(s, dict) and isinstance(s.get("experiment"), dict) for s in _list(data)):
        parse(Study, {"name": label, **data}, "")  # says what is wrong with it
        raise ConfigError("not a study", place=label, fix="give [[scenarios]] with an experiment")
    for key, value in (overrides or {}).items():
        _override(data, key, value)
    data.setdefault("name", label)
    single = len(data["scenarios"]) == 1 and wrapped
    _check_experiments(data["scenarios"], single)
    study: Study = parse(Study, data, "")
    check_figures(study)
    if not overrides:  # settings may leave out what a claim is about
        cells = [cell for title, item in titled(study) for cell in variants(item, title)]
        check_claims(study.claims, cells)
    return study


def _list(data: dict[str, Any]) -> list[Any]:
    scenarios = data["scenarios"]
    return scenarios if isinstance(scenarios, list) else [scenarios]


def _check_experiments(scenarios: list[Any], single: bool) -> None:
    """Check each experiment by itself, so that places read as in the user's file."""
    found = []
    for number, scenario in enumerate(scenarios):
        if not isinstance(scenario, dict) or not isinstance(scenario.get("experiment"), dict):
            continue  # the study's own validation says so
        try:
            parse(Experiment, scenario["experiment"], "" if single else f"scenarios[{number}]")
            _check_reserved(scenario, "" if single else f"scenarios[{number}]")
        except ConfigError as error:
            found.append(str(error))
    if found:
        raise ConfigError("\n".join(found))


def _check_reserved(scenario: dict[str, Any], place: str) -> None:
    """Refuse what the study sets itself, instead of dropping it silently."""
    for key, fix in (("seed", "list the seeds in seeds = [...]"), ("probes", "leave it out")):
        if scenario["experiment"].get(key) or key in scenario.get("over", {}):
            raise ConfigError(f"{key} is set by the study", place=place or key, fix=fix)


def _override(data: dict[str, Any], key: str, value: Any) -> None:
    if key == "seed":
        key, value = "seeds", [value]
    if key in ("seeds", "exploratory", "devices"):
        data[key] = value
        return
    if key == "over" and not isinstance(value, Mapping):
        raise ConfigError("not a table", place="over", got=value, fix='{"attack": ["none", "ipm"]}')
    if key == "over":
        for scenario in data["scenarios"]:
            scenario["over"] = {**scenario.get("over", {}), **dict(value)}
        return
    if key.split(".")[0] not in EXPERIMENT:
        raise ConfigError(
            "unknown setting", place=f"--set {key}", fix=did_you_mean(key, EXPERIMENT)
        )
    for scenario in data["scenarios"]:
        _check_axis(scenario, key)
        assign(scenario["experiment"], key, value)
        scenario.get("over", {}).pop(key, None)


def _check_axis(scenario: Mapping[str, Any], key: str) -> None:
    """Refuse to set a part of what is an axis: its values would silently take the place of it."""
    for axis in scenario.get("over", {}):
        if key.startswith(f"{axis}."):
            raise ConfigError(
                f"{axis} is an axis of the study, whose values are whole",
                place=f"--set {key}",
                fix=f"set {axis} itself to one table, or edit a copy of the study",
            )


def _one_scenario(data: dict[str, Any], label: str) -> dict[str, Any]:
    of_study = ["seeds", "title", "exploratory", "profile", "claims", "devices", "skip_refused"]
    of_scenario = ["over", "fallback", "fetch_seconds", "watch", "modality", "tunes"]
    if "seed" in data and "seeds" not in data:
        data["seeds"] = [data.pop("seed")]
    study = {key: data.pop(key) for key in of_study if key in data}
    scenario = {key: data.pop(key) for key in of_scenario if key in data}
    data.setdefault("name", label)
    return {"name": data["name"], **study, "scenarios": [{**scenario, "experiment": data}]}


def plan_study(study: Study) -> Plan:
    """Expand a study into cells, checking every component by name and options beforehand.

    Raises:
        ConfigError: all problems of all cells at once.
    """
    cells: list[Cell] = []
    notes: list[str] = []
    for title, scenario in titled(study):
        settled, note = _with_data(scenario)
        notes += note
        cells += _cells(settled, settled.title or title, settled.seeds or study.seeds)
    return Plan(study, tuple(with_twins(cells)), tuple(dict.fromkeys(notes)))


def titled(study: Study) -> list[tuple[str, Scenario]]:
    """Return a study's scenarios, each with a title."""
    several = len(study.scenarios) > 1
    return [
        (scenario.title or f"{study.name}{f' {number}' if several else ''}", scenario)
        for number, scenario in enumerate(study.scenarios, start=1)
    ]


def _with_data(scenario: Scenario) -> tuple[Scenario, list[str]]:
    """Use the fallback data set when the first choice cannot be had; say so."""
    if scenario.fallback is None:
        return scenario, []
    asked = scenario.experiment.dataset
    try:
        with fetch_limit(scenario.fetch_seconds):
            load_guarded(build("dataset", asked, "dataset"))
    except DataError as error:
        fallback = scenario.fallback
        note = (
            f"{asked['name']} could not be had ({error.message}). {fallback['name']} is used "
            f"instead: {_described(fallback)}"
        )
        experiment = scenario.experiment.model_copy(update={"dataset": fallback})
        title = f"{scenario.title} ({fallback['name']})"
        return scenario.model_copy(update={"experiment": experiment, "title": title}), [note]
    return scenario, []


def _described(dataset: Component) -> str:
    return find("dataset", dataset["name"], "fallback").summary


def _cells(scenario: Scenario, title: str, seeds: tuple[int, ...]) -> list[Cell]:
    made = []
    for cell in variants(scenario, title):
        _check_names(cell.twin.model_copy(update={"attack": cell.spec.attack}))
        seeded = (cell.spec.model_copy(update={"seed": seed}) for seed in seeds)
        made += [replace(cell, seed=spec.seed, spec=spec, watch=scenario.watch) for spec in seeded]
    return made


def variants(scenario: Scenario, title: str) -> list[Cell]:
    """Return a scenario's cells for one seed, each with names that no other one has."""
    base = scenario.experiment.model_dump(mode="json")
    axes = scenario.over
    _check_axes(axes)
    specs, labels = [], []
    for values in itertools.product(*axes.values()):
        data: dict[str, Any] = json.loads(json.dumps(base))
        named = list(zip(axes, values, strict=True))
        for key, value in named:
            assign(data, key, value)
        specs.append(parse(Experiment, data, title))
        labels.append(tuple((k, label_of(v)) for k, v in named if k not in ("attack", "defenses")))
    attacks = stack_names(labels, [[s.attack or {"name": "none"}] for s in specs])
    stacks = stack_names(labels, [list(s.defenses) for s in specs])
    return [
        Cell(title, attack, stack, spec.seed, spec, label)
        for attack, stack, spec, label in zip(attacks, stacks, specs, labels, strict=True)
    ]


def _check_axes(axes: Mapping[str, list[Any]]) -> None:
    for key, values in axes.items():
        if any(value in values[:number] for number, value in enumerate(values)):
            raise ConfigError("a value stands there twice", place=f"over.{key}", got=values)


def _check_names(spec: Experiment) -> None:
    named = [("dataset", "dataset", spec.dataset), ("partition", "partition", spec.partition)]
    named += [("trainer", "trainer", spec.trainer)]
    named += [("server-optimizer", "federation.server", spec.federation.server)]
    optional = {"task": spec.task, "model": spec.model, "attack": spec.attack}
    named += [(kind, kind, part) for kind, part in optional.items() if part is not None]
    named += [("inspect", f"inspect[{i}]", part) for i, part in enumerate(spec.inspect)]
    named += [
        ("attack", f"observe[{i}]", {k: v for k, v in part.items() if k not in WATCHING})
        for i, part in enumerate(spec.observe)
    ]
    found = []
    for kind, place, part in named:
        try:
            build(kind, part, place)
        except AsepsisError as error:
            found.append(str(error))
    from asepsis.defenses.stack import build_pipeline

    try:
        build_pipeline(spec.defenses, "defenses")
    except AsepsisError as error:
        found.append(str(error))
    if found:
        raise ConfigError("\n".join(found))


def with_twins(cells: Iterable[Cell]) -> list[Cell]:
    """Give every attacked cell its twin, and every twin the backdoors it is asked about."""
    cells = list(cells)
    attacked = [cell for cell in cells if cell.spec.attack is not None]
    twins: dict[str, Cell] = {}
    for cell in cells:
        twin = replace(cell, attack="none", spec=cell.twin, watch=())
        twins.setdefault(twin.spec.digest(), twin)
    probes: dict[str, dict[str, Component]] = {key: {} for key in twins}
    for cell in attacked:
        assert cell.spec.attack is not None
        if hasattr(lookup("attack", cell.spec.attack["name"]), "stamp"):
            probes[cell.twin.digest()][probe_name(cell.spec.attack)] = cell.spec.attack
    asked = [
        replace(twin, spec=twin.spec.model_copy(update={"probes": probes[key]}))
        for key, twin in twins.items()
    ]
    return [*asked, *attacked]


def probe_name(attack: Component) -> str:
    """Name a backdoor in its twin's record."""
    return json.dumps(attack, sort_keys=True, separators=(",", ":"))
