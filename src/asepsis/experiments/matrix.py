"""The threat matrix: every attack's severity and detection, under every defense that was run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from asepsis.core.registry import build
from asepsis.experiments.detection import Detections, detections, passive, undetectable
from asepsis.experiments.figures import ATTACK
from asepsis.experiments.leaks import watchers
from asepsis.experiments.naming import row_label
from asepsis.experiments.plan import Refused, titled
from asepsis.experiments.results import WATCHING, Group, Results, Run
from asepsis.experiments.severity import harm, level, severity
from asepsis.experiments.spec import Scenario
from asepsis.experiments.threats import EAVESDROPPER, Goal, Threat, threat_of
from asepsis.metrics.intervals import UNKNOWN, Interval, paired_difference

IDLE = frozenset({"mean", "weighted-mean", "plain", "monitor"})
"""Stages that keep nobody from anything."""
UNTRAINED = "undertrained"
"""The level of what is done to a model that never learned: none can be told."""


@dataclass(frozen=True, slots=True)
class Field:
    """One attack under one stack: its harm, or why the two do not go together.

    ``untrained``: the model learned nothing even without an attack; little was left to harm.
    ``failed`` counts the runs that ended without figures: what happened in them is not in ``harm``.
    """

    harm: Interval = UNKNOWN
    level: str = ""
    reason: str = ""
    untrained: bool = False
    failed: int = 0

    @property
    def known(self) -> bool:
        """Whether it can be set beside others."""
        return math.isfinite(self.harm.mean) and not self.untrained


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One attack on one modality, under every stack.

    ``adaptive``: the attacker knows the stack with its parameters, and fits the attack to it.
    """

    modality: str
    attack: str
    threat: Threat
    attacker: str
    fields: Mapping[str, Field]
    adaptive: bool = False
    found: Detections | None = None

    @property
    def bare(self) -> Field:
        """What it does where nothing keeps it from anything."""
        plain = [one for stack, one in self.fields.items() if undefended(stack)]
        return next((one for one in plain if one.harm.n), plain[0] if plain else Field())

    @property
    def ranked(self) -> list[tuple[str, Field]]:
        """Defenses by what is left under them, the least first; those that say nothing left out."""
        known = [
            (name, one) for name, one in self.fields.items() if one.known and not undefended(name)
        ]
        return sorted(known, key=lambda item: item[1].harm.mean)


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """All rows of a study, the most severe of each goal first."""

    rows: tuple[Row, ...]
    prices: Mapping[tuple[str, str], Interval] = field(default_factory=dict)
    """What a stack costs where nobody attacks, by modality: the loss against no defense."""

    @property
    def modalities(self) -> list[str]:
        """Modalities in the order of the study."""
        return list(dict.fromkeys(row.modality for row in self.rows))

    def of(self, modality: str) -> list[Row]:
        """Return one modality's rows, ranked inside each goal."""
        return ranked([row for row in self.rows if row.modality == modality])

    def adapted(self, modality: str, goal: Goal, stack: str) -> tuple[str, Field] | None:
        """Return the worst that an attacker did who knew a stack; ``None`` if none was played.

        What is not estimable is worse than any figure: it shows nothing.
        """
        tried = [
            (row.attack, row.fields[stack])
            for row in self.rows
            if row.adaptive and (row.modality, row.threat.goal) == (modality, goal)
            if stack in row.fields and not row.fields[stack].reason
        ]

        def worth(one: tuple[str, Field]) -> float:
            return one[1].harm.mean if one[1].known else math.inf

        return max(tried, key=worth, default=None)


def undefended(stack: str) -> bool:
    """Whether a stack's stages keep nobody from anything.

    Example:
        >>> undefended("monitor + mean"), undefended("secure-aggregation + mean")
        (True, False)
    """
    return set(stack.split(" + ")) <= IDLE


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Order rows by goal, and inside one goal by severity: goals are not comparable."""
    goals = list(Goal)

    def place(row: Row) -> tuple[int, float]:
        return goals.index(row.threat.goal), -row.bare.harm.mean if row.bare.known else math.inf

    return sorted(rows, key=place)


def matrix(results: Results) -> Matrix:
    """Read a study's threat matrix; without rows where no scenario has a modality."""
    made: dict[tuple[str, str], _Open] = {}
    heard: dict[str, _Heard] = {}
    clean: dict[str, dict[str, list[Run]]] = {}
    for group in results.groups():
        scenario = _scenario(results, group.scenario)
        if scenario is None or not scenario.modality:
            continue
        runs = heard.setdefault(scenario.modality, _Heard())
        runs.add(group, tuning=scenario.tunes)
        if scenario.tunes:
            continue
        if group.attack == "none" and not group.labels:
            clean.setdefault(group.scenario, {})[group.defense] = group.runs
        for name, threat, by in _threats(group):
            row = made.setdefault((scenario.modality, name), _Open(threat, _attacker(group, by)))
            row.fields[group.defense] = _field(group, threat, by)
            row.adaptive = row.adaptive or _adapts(group)
            row.tampers = row.tampers or (by == ATTACK and not passive(group.runs[0]))
    for item in results.refused:
        scenario = _scenario(results, item.scenario)
        if scenario is not None and scenario.modality and not scenario.tunes:
            _refuse(made, scenario.modality, item)
    rows = [
        Row(
            modality,
            name,
            row.threat,
            row.attacker or row.threat.attacker,
            row.fields,
            row.adaptive,
            _detected(heard, modality, name, row),
        )
        for (modality, name), row in made.items()
    ]
    prices = {
        (where.modality, stack): found
        for title, stacks in clean.items()
        if (where := _scenario(results, title)) is not None
        for stack, found in _prices(stacks)
    }
    return Matrix(tuple(rows), prices)


def _prices(stacks: Mapping[str, Sequence[Run]]) -> Iterator[tuple[str, Interval]]:
    """Yield what each defense of a scenario loses beside none, seed by seed."""
    bare = next((runs for stack, runs in stacks.items() if undefended(stack)), [])
    plain = {run.cell.seed: run for run in bare if run.ok}
    for stack, runs in stacks.items():
        pairs = [(run, plain[run.cell.seed]) for run in runs if run.cell.seed in plain and run.ok]
        if not undefended(stack) and pairs:
            lost = [harm(run, beside, Goal.AVAILABILITY) for run, beside in pairs]
            yield stack, paired_difference(lost, [0.0] * len(lost))


@dataclass(slots=True)
class _Open:
    """A row that is being put together."""

    threat: Threat
    attacker: str = ""
    adaptive: bool = False
    tampers: bool = False
    fields: dict[str, Field] = field(default_factory=dict)


@dataclass(slots=True)
class _Heard:
    """Runs behind a monitor, by attack: those that tune detectors, and those that judge them."""

    tuning: dict[str, list[Run]] = field(default_factory=dict)
    fresh: dict[str, list[Run]] = field(default_factory=dict)
    found: dict[str, Detections] | None = None

    def add(self, group: Group, *, tuning: bool) -> None:
        """Take up a group's runs if they attack where a monitor listens and nobody is kept."""
        if group.attack == "none" or not undefended(group.defense):
            return
        runs = [run for run, _ in group.good if any(item.get("monitors") for item in run.rounds)]
        if runs:
            known = self.tuning if tuning else self.fresh
            known.setdefault(_named(group), []).extend(runs)

    def of(self, attack: str) -> Detections | None:
        """Return what frozen detectors find of an attack."""
        if self.found is None:
            self.found = detections(self.tuning, self.fresh)
        return self.found.get(attack)


def _scenario(results: Results, title: str) -> Scenario | None:
    """Return the scenario of a title, behind which a fallback data set may stand in brackets."""
    for name, scenario in titled(results.study):
        if title == name or title.startswith(f"{name} ("):
            return scenario
    return None


def _named(group: Group) -> str:
    return row_label(group.attack, group.labels)


def _threats(group: Group) -> Iterator[tuple[str, Threat, str]]:
    """Yield what threatens a group's runs: by name, family, and who in the record."""
    attack = group.runs[0].cell.spec.attack
    if attack is not None:
        found = threat_of(str(attack["name"]))
        if found is not None:
            yield _named(group), found, ATTACK
        return
    for name in watchers(group):
        found = _by_label(name)
        if found is not None:
            yield name, found, name


def _attacker(group: Group, by: str) -> str:
    """Return who listens on the wire instead of being the server; "" where the family says who."""
    for run in group.runs:
        watching = {str(item["name"]): item for item in run.resolved.get("observe") or []}
        if by == ATTACK and run.resolved.get("role") == "eavesdropper":
            return EAVESDROPPER
        if watching.get(by, {}).get("sees") == "messages":
            return EAVESDROPPER
    return ""


def _adapts(group: Group) -> bool:
    attack = group.runs[0].cell.spec.attack
    return attack is not None and bool(getattr(build("attack", attack), "needs_rule", False))


def _by_label(label: str) -> Threat | None:
    """Return the family of what a table calls ``name (options)``."""
    return threat_of(label.partition(" ")[0])


def _field(group: Group, threat: Threat, by: str) -> Field:
    goal = threat.goal
    if any(run.resolved.get("role") in WATCHING for run in group.runs) and by == ATTACK:
        goal = Goal.CONFIDENTIALITY
    found = severity(group, goal, by)
    named = UNTRAINED if group.undertrained else level(goal, found.mean)
    return Field(found, named, untrained=group.undertrained, failed=group.failed)


def _refuse(made: dict[tuple[str, str], _Open], modality: str, item: Refused) -> None:
    """Put a refusal where it belongs; a stack that is refused alone is so for all who watch."""
    if item.attack == "none":
        for (where, _), row in made.items():
            if where == modality and row.threat.passive:
                row.fields.setdefault(item.defense, Field(reason=item.reason))
        return
    threat = _by_label(item.attack)
    if threat is not None:
        row = made.setdefault((modality, item.attack), _Open(threat))
        row.fields.setdefault(item.defense, Field(reason=item.reason))


def _detected(
    heard: Mapping[str, _Heard], modality: str, attack: str, row: _Open
) -> Detections | None:
    if row.threat.passive and not row.tampers:
        return Detections(undetectable(), undetectable())
    return heard[modality].of(attack) if modality in heard else None
