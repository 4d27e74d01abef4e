"""What a study found: runs beside their twins, averages over seeds with intervals."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from asepsis.core.errors import ConfigError
from asepsis.experiments.attacked import attacked
from asepsis.experiments.device_table import Measured, read_devices
from asepsis.experiments.frames import round_rows, run_rows
from asepsis.experiments.identity import record_name
from asepsis.experiments.learning import DISTANCE, gain
from asepsis.experiments.naming import Labels
from asepsis.experiments.patients import screen_of
from asepsis.experiments.plan import Cell, Plan, Refused, probe_name
from asepsis.experiments.spec import Experiment, Study, parse
from asepsis.experiments.store import Line, Store, damaged, footer_of, read_record, rounds_of
from asepsis.metrics.backdoor import excess_success
from asepsis.metrics.hospitals import MINIMUM
from asepsis.metrics.intervals import UNKNOWN, Interval, paired_difference, t_interval
from asepsis.metrics.measures import floor_name, measure

T = TypeVar("T")
DIGEST = re.compile(r"(?:[0-9a-f]{16})?")
WATCHING = ("server", "eavesdropper")
"""Roles whose attack looks and does nothing."""
SEEN = "backdoor/seen"
"""How often a trigger is found in generated images, false alarms among it."""


@dataclass(frozen=True, eq=False)
class Run:
    """One cell and its record."""

    cell: Cell
    lines: list[Line]

    @property
    def footer(self) -> dict[str, Any]:
        """The summary; ``status`` is ``missing`` when the run never ended."""
        footer = footer_of(self.lines)
        return footer["result"] if footer else {"status": "missing"}

    @property
    def ok(self) -> bool:
        """Whether the run ended with figures."""
        return self.footer["status"] in ("success", "diverged")

    @property
    def resolved(self) -> dict[str, Any]:
        """The resolved specification."""
        found: dict[str, Any] = self.lines[0]["result"].get("resolved", {}) if self.lines else {}
        return found

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """The deterministic part of every round."""
        return [line["result"] for line in rounds_of(self.lines)]

    @property
    def attacked(self) -> list[int]:
        """The rounds in which a hostile hospital took part, or somebody sat on the wire."""
        return [int(item["round"]) for item in self.rounds if attacked(item)]

    @property
    def spared(self) -> bool:
        """Whether an attack was planned, and nobody was ever there to make it."""
        passive = self.cell.spec.attack is None or self.resolved.get("role") in WATCHING
        return not passive and not self.attacked

    def tail(self, metric: str) -> float:
        """Mean of a metric over the last rounds."""
        return float(self.footer.get("tail", {}).get(metric, math.nan))

    def curve(self, metric: str) -> list[float]:
        """A metric by round; NaN where it was not measured."""
        return [float(item["metrics"].get(metric, math.nan)) for item in self.rounds]

    def seconds(self) -> dict[str, float]:
        """Mean seconds a round of each part of the work."""
        laps = [line["observed"]["seconds"] for line in rounds_of(self.lines) if "observed" in line]
        return _mean_laps(laps)

    def bytes_up(self) -> float:
        """Mean bytes a hospital sends a round: what the channel counted, else the bare update."""
        told = [item.get("channel") or {} for item in self.rounds]
        counted = [float(item["bytes_up_mean"]) for item in told if "bytes_up_mean" in item]
        if counted:
            return math.fsum(counted) / len(counted)
        observed = (footer_of(self.lines) or {}).get("observed") or {}
        return float(observed.get("row_bytes", math.nan))


def _mean_laps(laps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average times by name; a part that some round did not have took none."""
    names = dict.fromkeys(name for lap in laps for name in lap)
    return {name: math.fsum(lap.get(name, 0.0) for lap in laps) / len(laps) for name in names}


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ only in their seed, beside their attack-free twins."""

    scenario: str
    attack: str
    defense: str
    labels: Labels
    runs: list[Run]
    twins: list[Run]

    @property
    def good(self) -> list[tuple[Run, Run]]:
        """Pairs of a run and its twin that both ended with figures, and say something.

        A run in which nobody attacked is its twin once more: it says nothing of the attack.
        """
        return [(run, twin) for run, twin in self._ended if not run.spared]

    @property
    def spared(self) -> int:
        """How many runs ended with figures, but nobody attacked in them."""
        return sum(run.spared for run, _ in self._ended)

    @property
    def failed(self) -> int:
        """How many runs ended without figures."""
        return len(self.runs) - len(self._ended)

    @property
    def _ended(self) -> list[tuple[Run, Run]]:
        return [(r, t) for r, t in zip(self.runs, self.twins, strict=True) if r.ok and t.ok]

    @cached_property
    def primary(self) -> str:
        """The task's first metric."""
        return next((str(run.resolved["primary"]) for run in self.runs if run.resolved), "accuracy")

    def metric(self, name: str) -> Interval:
        """Mean over seeds of a metric's mean over the last rounds."""
        return t_interval([run.tail(name) for run, _ in self.good])

    def stalled(self) -> float:
        """Share of the attacked rounds without a result, beyond the same rounds of the twins."""
        pairs = [(run, twin, run.attacked) for run, twin in self.good if run.attacked]
        gaps = [_void_share(run, rounds) - _void_share(twin, rounds) for run, twin, rounds in pairs]
        return math.fsum(gaps) / len(gaps) if gaps else math.nan

    def worst(self, name: str) -> Interval:
        """Mean over seeds of the worst hospital's value in the last round, where estimable."""
        return t_interval([run.footer.get("worst", {}).get(name, math.nan) for run, _ in self.good])

    def over_patients(self) -> Interval:
        """Primary metric of the last round with its bounds over the test set's patients."""
        return over_patients([run for run, _ in self.good])

    def clean(self, name: str) -> Interval:
        """Mean over seeds of a metric of the attack-free twins."""
        return t_interval([twin.tail(name) for _, twin in self.good])

    def change(self, name: str) -> Interval:
        """Paired difference to the attack-free twin: attacked minus twin."""
        return paired_change(self.good, name)

    @property
    def generates(self) -> bool:
        """Whether the model makes images out of noise."""
        return any(DISTANCE in run.footer.get("tail", {}) for run in (*self.runs, *self.twins))

    @property
    def backdoor(self) -> bool:
        """Whether the attack plants a trigger."""
        return any("asr" in run.footer.get("tail", {}) for run, _ in self.good)

    def floor(self, metric: str = "asr") -> Interval:
        """What the clean twins say to the same trigger."""
        return t_interval([floor_of(run, twin, Run.tail, metric) for run, twin in self.good])

    def excess(self) -> Interval:
        """Attack success beyond the floor: ``(ASR - floor) / (1 - floor)``."""
        values = [excess_of(run, *beside_twin(run, twin, Run.tail)) for run, twin in self.good]
        return paired_difference(values, [0.0] * len(values))

    @property
    def undertrained(self) -> bool:
        """Whether the twins were not shown to have learned: such a group supports no claim.

        A figure that is not estimable shows nothing; a task without one is taken at its word.
        """
        return not shown_to_learn([twin for _, twin in self.good])

    def activation(self) -> list[dict[str, Any]]:
        """Every defense's activation proof, over seeds: share changed, and in how many runs."""
        stages = [stage for run, _ in self.good for stage in run.footer["activation"]]
        found = []
        for name in dict.fromkeys(stage["stage"] for stage in stages):
            own = [stage for stage in stages if stage["stage"] == name]
            found.append(
                {
                    "stage": name,
                    "room": own[0]["room"],
                    "changed": math.fsum(stage["changed"] for stage in own) / len(own),
                    "active": sum(bool(stage["active"]) for stage in own),
                    "runs": len(own),
                }
            )
        return found

    def seconds(self) -> dict[str, float]:
        """Mean seconds a round of each part of the work."""
        laps = [run.seconds() for run, _ in self.good]
        return _mean_laps(laps)


@dataclass(frozen=True, eq=False)
class Results:
    """All runs of a study, as tables."""

    study: Study
    runs: list[Run]
    notes: tuple[str, ...] = ()
    root: Path | None = None
    engine: str = "threads"
    refused: tuple[Refused, ...] = ()
    devices: tuple[Measured, ...] = ()

    def groups(self) -> list[Group]:
        """Group runs that differ only in their seed, in the order of the plan."""
        clean = [run for run in self.runs if run.cell.spec.attack is None]
        # Who watches changes nothing: a run that is watched is the twin of those that are not.
        twins = {run.cell.spec.alone().digest(): run for run in clean}
        twins |= {run.cell.spec.model_copy(update={"probes": {}}).digest(): run for run in clean}
        grouped: dict[tuple[Any, ...], Group] = {}
        for run in self.runs:
            cell = run.cell
            key = (cell.scenario, cell.attack, cell.defense, cell.labels, _options(cell.spec))
            group = grouped.setdefault(
                key, Group(cell.scenario, cell.attack, cell.defense, cell.labels, [], [])
            )
            group.runs.append(run)
            bare = cell.spec.twin().model_copy(update={"probes": {}})
            group.twins.append(twins.get(bare.digest()) or twins[cell.spec.alone().digest()])
        return list(grouped.values())

    def frame(self) -> pd.DataFrame:
        """One row a run: labels, status, last round and mean of the last rounds, cost."""
        return pd.DataFrame(run_rows(self.runs))

    def rounds_frame(self) -> pd.DataFrame:
        """One row a run and round: labels, who attacked, every figure, cost."""
        return pd.DataFrame(round_rows(self.runs))


def over_patients(runs: Sequence[Run]) -> Interval:
    """Return the primary metric of the last round with its bounds over the test set's patients.

    Value and bounds are averaged over the runs; ``n`` counts the patients.
    """
    found = [run.footer["over_patients"] for run in runs if run.footer.get("over_patients")]
    if not found:
        return UNKNOWN
    mean = {key: math.fsum(item[key] for item in found) / len(found) for key in found[0]}
    return Interval(mean["value"], mean["low"], mean["high"], int(mean["patients"]))


def shown_to_learn(twins: Sequence[Run]) -> bool:
    """Whether models that nobody attacked were shown to learn.

    A figure that is not estimable shows nothing; a task without one is taken at its word.
    """
    told = [found for twin in twins if (found := gain(twin)) is not None]
    gains = [one for one in told if math.isfinite(one)]
    return not told or bool(gains and math.fsum(gains) >= 0)


def floor_of(run: Run, twin: Run, read: Callable[[Run, str], T], metric: str = "asr") -> T:
    """Read a metric of a backdoor from a model that nobody attacked.

    A trigger that changes over the rounds has its floor in the attacked run's own record,
    measured on the twin's model; every other in the twin's.
    """
    own = "floor" if metric == "asr" else f"floor:{metric.removeprefix('backdoor/')}"
    if own in run.footer.get("last", {}):
        return read(run, own)
    return read(twin, f"{own}/{probe_name(run.cell.spec.attack or {})}")


def beside_twin(run: Run, twin: Run, read: Callable[[Run, str], T]) -> tuple[T, T]:
    """Read an attack's success, and its floor, for the excess.

    Of a generator both are what a detector that works finds before false alarms are subtracted:
    they cancel, and a rate that was cut off at zero would not.
    """
    works = "asr" not in run.footer.get("generator", {}).get("blind", ())
    probe = probe_name(run.cell.spec.attack or {})
    raw = SEEN in run.footer.get("tail", {}) and f"floor:seen/{probe}" in twin.footer["tail"]
    metric = SEEN if works and raw else "asr"
    return read(run, metric), floor_of(run, twin, read, metric)


def paired_change(pairs: Sequence[tuple[Run, Run]], name: str) -> Interval:
    """Paired difference of runs to what stands beside them."""
    theirs = [beside.tail(name) for _, beside in pairs]
    floor = t_interval([beside.tail(floor_name(name)) for _, beside in pairs]).mean
    grain = measure(name).grain(t_interval(theirs).mean, floor)
    return paired_difference([run.tail(name) for run, _ in pairs], theirs, grain=grain)


def excess_of(run: Run, asr: float, floor: float) -> float:
    """Return the excess success; NaN where the floor leaves fewer than ten test samples above it.

    Samples of the target class are among those counted: the record does not tell them apart. Of a
    generator as many of its images are tested as it says, which may be fewer than test samples.
    """
    counted = sum(counts[-1] or 0 for counts in run.resolved.get("samples", []))
    tested = int(run.resolved.get("tested", counted))
    tested = int(run.footer.get("generator", {}).get("images", tested))
    few = tested > 0 and (1 - floor) * tested < MINIMUM
    return math.nan if few else excess_success(asr, floor)


def _void_share(run: Run, rounds: list[int]) -> float:
    void = {item["round"] for item in run.rounds if item["void"] is not None}
    return len(void.intersection(rounds)) / len(rounds)


def _options(spec: Experiment) -> str:
    return spec.model_copy(update={"seed": 0, "partition_seed": None}).digest()


def plan_table(plan: Plan, engine: str, *, pseudonyms: bool = False) -> dict[str, Any]:
    """Return the plan as it is kept in ``study.json``: without the files of a user's own data."""
    table = {
        "study": plan.study.model_dump(mode="json"),
        "engine": engine,
        "pseudonyms": pseudonyms,
        "notes": list(plan.notes),
        "refused": [asdict(item) for item in plan.refused],
        "cells": [
            {
                "scenario": cell.scenario,
                "attack": cell.attack,
                "defense": cell.defense,
                "seed": cell.seed,
                "labels": dict(cell.labels),
                "known": cell.digest,
                "spec": cell.spec.model_dump(mode="json"),
            }
            for cell in plan.cells
        ],
    }
    shown: dict[str, Any] = screen_of(plan, pseudonyms=pseudonyms).table(table)
    return shown


def load_results(root: Path | str) -> Results:
    """Read a results folder.

    Raises:
        StoreError: it holds no results, or they are damaged.
    """
    root = Path(root)
    store = Store(root)
    table = store.read_plan()
    try:
        study: Study = parse(Study, table["study"])
        cells = [_cell(item) for item in table["cells"]]
        engine, notes = str(table["engine"]), tuple(str(note) for note in table["notes"])
        refused = tuple(Refused(**item) for item in table.get("refused", ()))
    except (AttributeError, ConfigError, KeyError, TypeError):
        raise damaged(store.plan) from None
    records = [store.record(record_name(cell, engine)) for cell in cells]
    runs = [Run(cell, read_record(path)) for cell, path in zip(cells, records, strict=True)]
    return Results(study, runs, notes, root, engine, refused, read_devices(store))


def _cell(item: dict[str, Any]) -> Cell:
    spec: Experiment = parse(Experiment, item.pop("spec"))
    if not DIGEST.fullmatch(item.setdefault("known", "")):
        raise KeyError("known")  # it becomes a file's name
    names = (item["scenario"], item["attack"], item["defense"], *item["labels"].values())
    if not all(isinstance(name, str) for name in names) or item["seed"] != spec.seed:
        raise TypeError("a cell's labels are texts, and its seed is that of its experiment")
    return Cell(**{**item, "labels": tuple(item["labels"].items())}, spec=spec)
