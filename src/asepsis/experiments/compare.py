"""Two results side by side: paired differences where the protocol is the same, else a refusal.

Runs may be set against each other only where their protocol hashes are equal, seed by seed; and of
attacks that bring their own trigger, target or share, only where these agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from asepsis.core.errors import ConfigError, did_you_mean
from asepsis.experiments.claims import ALPHA, by_seed
from asepsis.experiments.durability import durabilities, grain
from asepsis.experiments.figures import EXCESS
from asepsis.experiments.identity import record_name
from asepsis.experiments.naming import row_label
from asepsis.experiments.results import Group, Results, Run, load_results
from asepsis.experiments.spec import UNSHARED
from asepsis.metrics.intervals import Interval, holm, paired_difference, t_interval
from asepsis.metrics.measures import floor_name, measure

PART = "::"
"""Stands between a results folder and a cell or a run in it."""
TERMS = ("trigger", "target", "share")
"""Options of an attack that two attacks must share before they are ranked."""
SEEDS = ("seed", "partition_seed")
ABSENT = "(absent)"


class Verdict(StrEnum):
    """What an interval says of the second one minus the first one."""

    HIGHER = "B higher"
    LOWER = "B lower"
    ALIKE = "alike"
    UNCLEAR = "unclear"
    UNTRAINED = "undertrained"


@dataclass(frozen=True, slots=True)
class Unlike:
    """One place in which two specifications differ."""

    place: str
    first: str
    second: str


@dataclass(frozen=True, eq=False)
class Side:
    """A results folder, or what was chosen of it."""

    name: str
    results: Results
    groups: list[Group]
    chosen: bool

    @property
    def codes(self) -> list[str]:
        """Which versions of the code wrote it."""
        heads = [run.lines[0]["result"] for group in self.groups for run in group.runs if run.lines]
        return sorted({str(head.get("code", "")) for head in heads})


@dataclass(frozen=True, eq=False)
class Difference:
    """One figure of one cell, B minus A over the seeds that both have; ``p`` is Holm's."""

    scenario: str
    cell: str
    metric: str
    first: Interval
    second: Interval
    gap: Interval
    seeds: tuple[int, ...]
    unlike: tuple[Unlike, ...]
    material: float
    untrained: bool
    p: float = math.nan

    @property
    def verdict(self) -> Verdict:
        """Claimed where the mean is material and Holm's p small; alike where no end is material."""
        if self.untrained:
            return Verdict.UNTRAINED
        if abs(self.gap.mean) >= self.material and self.p < ALPHA:
            return Verdict.HIGHER if self.gap.mean > 0 else Verdict.LOWER
        inside = max(abs(self.gap.low), abs(self.gap.high)) < self.material
        return Verdict.ALIKE if inside and math.isfinite(self.p) else Verdict.UNCLEAR


@dataclass(frozen=True, eq=False)
class Refusal:
    """A cell that both have and that may not be compared, and why."""

    scenario: str
    cell: str
    reason: str
    unlike: tuple[Unlike, ...] = ()


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two results have in common, what may not be compared, and what only one has."""

    first: Side
    second: Side
    differences: list[Difference] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)

    @property
    def possible(self) -> bool:
        """Whether anything could be compared."""
        return bool(self.differences)

    @property
    def notes(self) -> list[str]:
        """What a reader must know of both sides before any figure."""
        codes = self.first.codes, self.second.codes
        return [] if codes[0] == codes[1] else [f"the code differs: {codes[0]} and {codes[1]}"]


def side(name: str) -> Side:
    """Read ``FOLDER``, ``FOLDER::ATTACK / DEFENSE``, ``FOLDER::RUN`` or a record's own path.

    Raises:
        StoreError: the folder holds no results, or they are damaged.
        ConfigError: it has no such cell or run, or several.
    """
    path = Path(name)
    if path.suffix == ".jsonl" and path.parent.name == "runs":
        folder, part = str(path.parent.parent), path.stem
    else:
        folder, _, part = name.partition(PART)
    results = load_results(Path(folder))
    groups = results.groups()
    if part:
        groups = [_chosen(part.strip(), groups, results.engine)]
    return Side(name, results, groups, bool(part))


def _chosen(part: str, groups: Sequence[Group], engine: str) -> Group:
    for group in groups:
        for run, twin in zip(group.runs, group.twins, strict=True):
            if record_name(run.cell, engine) == part:
                return replace(group, runs=[run], twins=[twin])
    named = [g for g in groups if part in (cell_name(g), f"{g.scenario}: {cell_name(g)}")]
    if len(named) == 1:
        return named[0]
    names = [f"{g.scenario}: {cell_name(g)}" for g in named or groups]
    raise ConfigError(
        "names several cells" if named else "no such cell or run",
        place="compare",
        got=part,
        fix=did_you_mean(part, names),
    )


def cell_name(group: Group) -> str:
    """Name a cell of a table: its row and its column."""
    return f"{row_label(group.attack, group.labels)} / {group.defense}"


def compare(first: Side, second: Side, metrics: Sequence[str] = ()) -> Comparison:
    """Set two sides against each other, B minus A, seed by seed.

    Args:
        first: A.
        second: B.
        metrics: figures as a claim may name them; each task's primary one, and the excess of
            backdoors, where left out.
    """
    pairs, alone = _paired(first, second)
    found = Comparison(first, second, only_first=alone[0], only_second=alone[1])
    for mine, theirs in pairs:
        refusal = _refusal(mine, theirs)
        if refusal is not None:
            found.refused.append(refusal)
            continue
        asked = metrics or _usual(mine, theirs)
        found.differences.extend(_difference(first, second, mine, theirs, name) for name in asked)
    raw = [math.nan if item.untrained else item.gap.p for item in found.differences]
    adjusted = holm(raw).tolist()
    told = [replace(item, p=p) for item, p in zip(found.differences, adjusted, strict=True)]
    return replace(found, differences=told)


def _paired(
    first: Side, second: Side
) -> tuple[list[tuple[Group, Group]], tuple[list[str], list[str]]]:
    """Pair cells by name; two that were chosen belong together whatever they are called."""
    if first.chosen and second.chosen:
        return [(first.groups[0], second.groups[0])], ([], [])
    titles = [{group.scenario for group in item.groups} for item in (first, second)]
    alone = all(len(found) == 1 for found in titles)
    mine, theirs = (
        {("" if alone else group.scenario, cell_name(group)): group for group in item.groups}
        for item in (first, second)
    )
    only = [
        [f"{one[key].scenario}: {key[1]}" for key in one if key not in other]
        for one, other in ((mine, theirs), (theirs, mine))
    ]
    return [(mine[k], theirs[k]) for k in mine if k in theirs], (only[0], only[1])


def _refusal(mine: Group, theirs: Group) -> Refusal | None:
    begun = [{run.cell.seed: run for run in g.runs if run.resolved} for g in (mine, theirs)]
    common = [seed for seed in begun[0] if seed in begun[1]]
    name = cell_name(mine) if cell_name(mine) == cell_name(theirs) else _both(mine, theirs)
    if not common:
        return Refusal(mine.scenario, name, "no seed in common that both have begun")
    for seed in common:
        one, other = begun[0][seed], begun[1][seed]
        if one.resolved.get("protocol") != other.resolved.get("protocol"):
            unlike = differing(protocol_of(one), protocol_of(other))
            return Refusal(mine.scenario, name, "the protocols differ", tuple(unlike))
        if unlike := differing(_terms(one), _terms(other)):
            return Refusal(mine.scenario, name, "the attacks' terms differ", tuple(unlike))
    if not set(_pairs_of(mine)) & set(_pairs_of(theirs)):
        return Refusal(mine.scenario, name, "no seed in which both ended with figures")
    return None


def _pairs_of(group: Group) -> list[int]:
    return [run.cell.seed for run, _ in group.good]


def _both(mine: Group, theirs: Group) -> str:
    return f"{cell_name(mine)} (A), {cell_name(theirs)} (B)"


def protocol_of(run: Run, *, seeds: bool = True) -> dict[str, Any]:
    """Return what a run's protocol hash covers, as its record tells it; its seeds only if asked."""
    components = run.resolved.get("components", {})
    left_out = {*UNSHARED, *components, *(() if seeds else SEEDS)}
    found = {
        **run.cell.spec.model_dump(mode="json", exclude=left_out),
        **{place: options for place, options in components.items() if place != "attack"},
    }
    return {**found, "hash of the data": run.resolved.get("data", "")} if seeds else found


def _terms(run: Run) -> dict[str, Any]:
    """Return the options of an attack that are part of the protocol by what they mean."""
    asked = run.resolved.get("components", {}).get("attack", {})
    fitted = asked.get("fitted", ())
    known = {key: asked[key] for key in TERMS if key in asked and key not in fitted}
    return {f"attack.{key}": value for key, value in known.items()}


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Unlike]:
    """Return the places in which two nested tables differ.

    Example:
        >>> differing({"a": {"b": 1, "c": [1]}}, {"a": {"b": 2, "c": [1]}})
        [Unlike(place='a.b', first='1', second='2')]
    """
    one, other = flat("", dict(first)), flat("", dict(second))
    return [
        Unlike(place, one.get(place, ABSENT), other.get(place, ABSENT))
        for place in dict.fromkeys([*one, *other])
        if one.get(place, ABSENT) != other.get(place, ABSENT)
    ]


def flat(place: str, value: Any) -> dict[str, str]:
    """Return the leaves of a nested table as text, by their places.

    Example:
        >>> flat("", {"a": {"b": 1}, "c": [{"d": 2}]})
        {'a.b': '1', 'c[0].d': '2'}
    """
    if isinstance(value, Mapping) and value:
        inner = [flat(f"{place}.{key}" if place else str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        inner = [flat(f"{place}[{number}]", item) for number, item in enumerate(value)]
    else:
        return {place: str(value)}
    return {key: text for part in inner for key, text in part.items()}


def _usual(mine: Group, theirs: Group) -> list[str]:
    return [mine.primary, *([EXCESS] if mine.backdoor and theirs.backdoor else [])]


def _difference(a: Side, b: Side, mine: Group, theirs: Group, metric: str) -> Difference:
    lasting = durabilities([mine, theirs])  # both followed to the horizon that both have
    values = [by_seed(group, metric, lasting.get(group)) for group in (mine, theirs)]
    seeds = tuple(seed for seed in values[0] if seed in values[1])
    first, second = ([found[seed] for seed in seeds] for found in values)
    level, floor = t_interval(first).mean, mine.metric(floor_name(metric)).mean
    unlike = differing(_asked(mine), _asked(theirs))
    return Difference(
        scenario=mine.scenario,
        cell=cell_name(mine) if not (a.chosen and b.chosen) else _both(mine, theirs),
        metric=metric,
        first=t_interval(first),
        second=t_interval(second),
        gap=paired_difference(second, first, grain=grain(metric, level, floor)),
        seeds=seeds,
        unlike=tuple(unlike),
        material=measure(metric).material(level, floor),
        untrained=mine.undertrained or theirs.undertrained,
    )


def _asked(group: Group) -> dict[str, Any]:
    """Return what two cells may differ in: the attack and the stack, as they were asked for."""
    spec = group.runs[0].cell.spec
    return {"attack": spec.attack or "none", "defenses": list(spec.defenses)}
