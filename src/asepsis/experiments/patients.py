"""What is written of a user's own data: no place on the machine, no value, no small group.

A specification names files. Their names stand in memory only: what is written has a word in their
place, and a run keeps the hash of its whole specification. ``--pseudonyms`` does the same to the
names of sites.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from asepsis.core.errors import AsepsisError, ConfigError, DataError
from asepsis.core.registry import build, lookup
from asepsis.core.samples import Samples
from asepsis.data.guarded import FILES, file_options, is_private, load_guarded, scrubbed
from asepsis.experiments.plan import Cell, Plan
from asepsis.experiments.spec import Component, Experiment
from asepsis.federation.parts import Parts

HIDDEN = "<private>"
SMALLEST_GROUP = 10
"""Nothing is written of fewer patients of a user's own than this, but that they are fewer."""
LABELS = ("labels", "attack", "defense", "scenario", "title", "notes", "reason")
LOOKS_LIKE_PATH = re.compile(
    r"^(?:~|\.{1,2}[\\/]|[\\/]|[A-Za-z]:[\\/]|file:)|[\\/].*\.\w+(?::\w+)?$"
)

ABSOLUTE = re.compile(r"^(?:~|[\\/]|[A-Za-z]:[\\/]|file:)")
"""A place on this machine: whosever the data are, only a file's name is written of it."""


@dataclass(frozen=True)
class Screen:
    """Words that stand for what must not be written: for the same text always the same word.

    ``files`` holds texts of the ``options`` that name files, ``sites`` names of sites. Where the
    data are public, files of other components, such as a network's, keep their bare names.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    sites: Mapping[str, str] = field(default_factory=dict)
    options: frozenset[str] = frozenset(FILES)

    @classmethod
    def of(cls, specs: Iterable[Experiment], sites: Mapping[str, str] | None = None) -> Screen:
        """Find what must not be written of some experiments."""
        every = list(specs)
        own = [spec for spec in every if private(spec)]
        options = [name for spec in own for name in file_options(_class(spec.dataset))]
        found = [text for spec in own for text in _private_texts(spec)]
        places = [text for spec in every for text in _paths(_parts(spec)) if ABSOLUTE.match(text)]
        words = {**_last_parts(places), **_numbered(found)}
        return cls(words, sites or {}, frozenset((*FILES, *options)))

    def table(self, value: Any, key: str = "") -> Any:
        """Return a table without what must not be written."""
        if isinstance(value, Mapping):
            return {
                (self.words(name) if key == "labels" else name): self.table(
                    item, key if key in LABELS else str(name).rpartition(".")[2]
                )
                for name, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.table(item, key) for item in value]
        if not isinstance(value, str):
            return value
        if key == "unseen":
            return self.sites.get(value, value)
        if key in LABELS or key == "whose":
            return self.words(value)
        named = key in self.options or LOOKS_LIKE_PATH.search(value)
        return self.files.get(value, value) if named else value

    def words(self, text: str) -> str:
        """Return a text that people read without what must not be written."""
        for value, word in sorted(self.files.items(), key=lambda item: -len(item[0])):
            text = _replaced(text, value, word)
        return renamed(text, self.sites)


def _numbered(texts: Iterable[str]) -> dict[str, str]:
    """Give every text its word; several in one study must stay apart."""
    distinct = dict.fromkeys(texts)
    return {
        text: text if text.startswith(HIDDEN[:-1]) else _word(number)
        for number, text in enumerate(distinct, start=1)
    }


def _last_parts(texts: Iterable[str]) -> dict[str, str]:
    """Give every file its name without its folders; files of one name stay apart."""
    found: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        name = re.split(r"[\\/]", text.rstrip("\\/"))[-1] or HIDDEN
        same = sum(word.partition(" (")[0] == name for word in found.values())
        found[text] = f"{name} ({same + 1})" if same else name
    return found


def _word(number: int) -> str:
    return HIDDEN if number == 1 else f"{HIDDEN[:-1]} {number}>"


def _private_texts(spec: Experiment) -> Iterator[str]:
    """Return the texts of a specification that name files."""
    yield from _files(spec.dataset)
    yield from _paths(_parts(spec))


def _parts(spec: Experiment) -> list[Any]:
    """Return every component of an experiment but its data."""
    one = (spec.model, spec.task, spec.trainer, spec.partition, spec.federation.server, spec.attack)
    return [*one, spec.probes, *spec.defenses, *spec.inspect, *spec.observe]


def _files(dataset: Component) -> Iterator[str]:
    options = file_options(_class(dataset))
    for name, value in dataset.items():
        if isinstance(value, str) and (name in options or LOOKS_LIKE_PATH.search(value)):
            yield value


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _paths(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, str) and LOOKS_LIKE_PATH.search(value):
        yield value


def _class(dataset: Component) -> type | None:
    try:
        return lookup("dataset", str(dataset.get("name", "")))
    except (AsepsisError, ImportError):
        return None


def private(spec: Experiment) -> bool:
    """Whether an experiment's data are a user's own; a set nobody knows is taken for one."""
    return is_private(_class(spec.dataset))


def _replaced(text: str, value: str, word: str) -> str:
    return re.sub(rf"(?<![\w/\\]){re.escape(value)}(?!\w)", lambda _: word, text)


def screen_of(plan: Plan, *, pseudonyms: bool = False) -> Screen:
    """Return what must not be written of a study: its cells' files, and those it left aside."""
    specs = [cell.spec for cell in plan.cells]
    for scenario in plan.study.scenarios:
        specs.append(scenario.experiment)
        for axis, values in scenario.over.items():
            if axis.startswith("dataset"):
                specs += [_varied(scenario.experiment, axis, value) for value in values]
            else:  # cells that were refused have files, too
                specs += [_holding(scenario.experiment, value) for value in values]
    sites: dict[str, str] = {}
    if pseudonyms:
        for spec in {str(cell.spec.dataset): cell.spec for cell in plan.cells}.values():
            sites |= pseudonyms_of(spec)
    return Screen.of(specs, sites)


def _holding(spec: Experiment, value: Any) -> Experiment:
    """Return an experiment that names what a setting of any name would."""
    return spec.model_copy(update={"probes": {"": {"name": "", "of": value}}})


def _varied(spec: Experiment, axis: str, value: Any) -> Experiment:
    dataset = {"name": value} if isinstance(value, str) and axis == "dataset" else value
    if axis != "dataset":
        dataset = {**spec.dataset, axis.partition(".")[2]: value}
    return spec.model_copy(update={"dataset": dataset})


def screened(plan: Plan, *, pseudonyms: bool = False) -> Plan:
    """Return a plan whose labels people may read; what is run stays as it is."""
    screen = screen_of(plan, pseudonyms=pseudonyms)
    return replace(plan, cells=tuple(_labeled(cell, screen) for cell in plan.cells))


def _labeled(cell: Cell, screen: Screen) -> Cell:
    return replace(
        cell,
        scenario=screen.words(cell.scenario),
        attack=screen.words(cell.attack),
        defense=screen.words(cell.defense),
        labels=tuple((name, screen.words(text)) for name, text in cell.labels),
    )


def pseudonyms_of(spec: Experiment) -> dict[str, str]:
    """Return what the sites of an experiment's data are called instead: ``site 1``, ...

    They are numbered in the order of their names, in every run alike; data without sites have
    hospitals whose names tell nothing.
    """
    try:
        sites = load_guarded(build("dataset", spec.dataset, "dataset")).sites
    except AsepsisError:
        return {}
    names = [] if sites is None else sorted({str(site) for site in sites})
    return {name: f"site {number}" for number, name in enumerate(names, start=1)}


def renamed(text: str, sites: Mapping[str, str]) -> str:
    """Give the sites in a text their pseudonyms, each once.

    Example:
        >>> renamed("Cleveland/2 is small", {"Cleveland": "site 1"})
        'site 1/2 is small'
    """
    if not sites:
        return text
    names = "|".join(re.escape(name) for name in sorted(sites, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{names})(?!\w)", lambda found: sites[found.group()], text)


def specified(spec: Experiment, sites: Mapping[str, str]) -> dict[str, Any]:
    """Return a specification as a record holds it; ``screened`` where that is not all of it."""
    whole = spec.model_dump(mode="json")
    shown = Screen.of([spec], sites).table(whole)
    return {"spec": shown} if shown == whole else {"spec": shown, "screened": True}


def told(
    resolved: dict[str, Any], spec: Experiment, parts: Parts, *, pseudonyms: bool
) -> dict[str, Any]:
    """Return a resolved specification as it may be written."""
    screen = Screen.of([spec], pseudonyms_of(spec) if pseudonyms else {})
    shown = {**resolved, "hospitals": [screen.words(name) for name in resolved["hospitals"]]}
    shown["components"] = screen.table(resolved["components"])
    for part in ("root", "defenses", "inspect", "observe"):
        if part in resolved:
            shown[part] = screen.table(resolved[part])
    if "unseen" in resolved:
        name = screen.words(resolved["unseen"]["hospital"])
        shown["unseen"] = {**resolved["unseen"], "hospital": name}
    return shown if resolved["public"] else _suppressed(shown, parts)


def _suppressed(resolved: dict[str, Any], parts: Parts) -> dict[str, Any]:
    """Leave out how many samples there are of fewer than ten patients."""
    counts = [
        [_least(part) for part in (one.train, one.validation, one.test)] for one in parts.hospitals
    ]
    shown = {**resolved, "samples": counts, "tested": _tested(parts, counts)}
    if parts.unseen is not None:
        shown["unseen"] = {**resolved["unseen"], "samples": _least(parts.unseen.test)}
    return shown


def _tested(parts: Parts, counts: list[list[int | None]]) -> int:
    """Return how many test samples there are; where one count is hidden, those of the others."""
    known = [count for *_, count in counts if count is not None]
    if len(counts) - len(known) == 1:  # a whole and all parts but one tell the last part
        return sum(known)
    return sum(len(hospital.test) for hospital in parts.hospitals)


def _least(samples: Samples) -> int | None:
    return None if few(samples) else len(samples)


def few(samples: Samples) -> bool:
    """Whether samples are of so few patients that nothing is written of them."""
    return len(np.unique(samples.groups)) < SMALLEST_GROUP


def message_of(error: Exception, spec: Experiment, *, pseudonyms: bool = False) -> str:
    """Return what may be written of an error: of private data no file, and no unknown text."""
    known = isinstance(error, AsepsisError)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    if private(spec):
        text = _guarded_text(text, spec) if known else _without_text(error)
    return renamed(text, pseudonyms_of(spec)) if pseudonyms else text


def readable(error: AsepsisError, spec: Experiment, *, pseudonyms: bool) -> AsepsisError:
    """Return an error that names sites as the records do."""
    if not pseudonyms:
        return error
    kind = ConfigError if isinstance(error, ConfigError) else DataError
    return kind(renamed(str(error), pseudonyms_of(spec)))


def _guarded_text(text: str, spec: Experiment) -> str:
    options, files = file_options(_class(spec.dataset)), set(_files(spec.dataset))
    given = {name: text for name, text in spec.dataset.items() if name in options and text in files}
    return scrubbed(text, given)


def _without_text(error: Exception) -> str:
    """Name an error and where it was raised: its own text may repeat a value."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where} (its text is left out: it may repeat a value)"
