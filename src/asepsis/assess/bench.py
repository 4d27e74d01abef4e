"""Measuring stacks against attacks: one study a step, its figures read back run by run."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asepsis.api import execute, prepare
from asepsis.assess.arsenal import Weapon
from asepsis.assess.budget import Load
from asepsis.assess.setting import QUIET, Setting
from asepsis.assess.stacks import Stack
from asepsis.experiments.naming import watcher_label
from asepsis.experiments.patients import screened
from asepsis.experiments.plan import Refused, plan_study, study_from
from asepsis.experiments.results import Results, Run, load_results
from asepsis.experiments.run import Cancelled, RunOptions
from asepsis.experiments.severity import harm
from asepsis.experiments.sifting import sifted
from asepsis.experiments.spec import Experiment
from asepsis.experiments.sweep import Listener
from asepsis.experiments.threats import Goal

HOSPITALS, WIRE = "hostile hospitals", "an interceptor"
CALM, WATCHED = "no attack", "no attack, watched"
Scored = Literal["test", "validation"]
Key = tuple[str, str, str, int]
"""Scenario, stack, attack, seed."""


@dataclass(frozen=True, eq=False)
class Step:
    """What is measured together: stacks against weapons, over seeds, on one part of the data."""

    name: str
    stacks: tuple[Stack, ...]
    weapons: tuple[Weapon, ...]
    seeds: tuple[int, ...]
    on: Scored


@dataclass(frozen=True, eq=False)
class Sheet:
    """What a step found, by stack, weapon and seed; ``whole`` unless it was stopped."""

    runs: Mapping[Key, Run]
    refused: tuple[Refused, ...] = ()
    whole: bool = True

    def harm(self, stack: Stack, weapon: Weapon, goal: Goal) -> dict[int, float]:
        """Return the harm of an attack on a stack by seed: a share, NaN of runs that failed.

        Seeds in which no hostile hospital was ever drawn say nothing, and are left out.
        """
        if weapon.hook == "watch":
            by = watcher_label(weapon.component)
            return {
                seed: harm(run, run, Goal.CONFIDENTIALITY, by) if run.ok else math.nan
                for seed, run in self._of(HOSPITALS, stack, "none").items()
            }
        where = WIRE if weapon.hook == "wire" else HOSPITALS
        attacked = self._of(where, stack, _text(weapon.component))
        twins = self._of(where, stack, "none")
        return {
            seed: _harm(run, twins[seed], goal)
            for seed, run in attacked.items()
            if seed in twins and not (run.ok and run.spared)
        }

    def lost(self, stack: Stack, beside: Stack) -> dict[int, float]:
        """Return what a stack costs while nobody attacks, by seed: a share, NaN of failed runs."""
        theirs, mine = (self._of(HOSPITALS, one, "none") for one in (beside, stack))
        shared = [seed for seed in mine if seed in theirs]
        return {seed: _harm(mine[seed], theirs[seed], Goal.AVAILABILITY) for seed in shared}

    def why(self, weapon: Weapon) -> str:
        """Return why an attack has no figures somewhere: a refusal, or what a run failed with."""
        name = str(weapon.component["name"])
        told = [one.reason for one in self.refused if one.attack.split(" ")[0] == name]
        told += [
            str(run.footer.get("message", ""))
            for (_, _, attack, _), run in self.runs.items()
            if not run.ok and attack == _text(weapon.component)
        ]
        return next(filter(None, told), "")

    def clean(self, stack: Stack) -> list[Run]:
        """Return a stack's runs without attack."""
        return [run for run in self._of(HOSPITALS, stack, "none").values() if run.ok]

    def seconds(self, stack: Stack) -> float:
        """Return the seconds of a round without attack, on average."""
        return _mean([math.fsum(run.seconds().values()) for run in self.clean(stack)])

    def bytes_up(self, stack: Stack) -> float:
        """Return what a hospital sends a round: what the channel counted, else the bare update."""
        return _mean(run.bytes_up() for run in self.clean(stack))

    def _of(self, where: str, stack: Stack, attack: str) -> dict[int, Run]:
        wanted = (where, _text(stack), attack)
        return {
            key[-1]: run for key, run in sorted(self.runs.items(), key=_seed) if key[:-1] == wanted
        }


def _seed(item: tuple[Key, Run]) -> int:
    return item[0][-1]


def _harm(run: Run, twin: Run, goal: Goal) -> float:
    return harm(run, twin, goal) if run.ok and twin.ok else math.nan


def measure(setting: Setting, step: Step, root: Path, how: RunOptions, listener: Listener) -> Sheet:
    """Run a step, or what is left of it, and read what it found.

    A step that is stopped by its listener is read as far as it came.

    Raises:
        AsepsisError: it cannot be put together, or its folder cannot be written.
    """
    study = study_from(_table(setting, step), step.name)
    plan = sifted(plan_study(study), how.engine)
    plan = screened(plan, pseudonyms=how.pseudonyms)
    store = prepare(plan, root, how)
    try:
        results = execute(plan, store, how, listener)
    except Cancelled:
        results = load_results(root)
    return sheet_of(results)


def sheet_of(results: Results) -> Sheet:
    """Index the runs of a step."""
    runs = {}
    for run in results.runs:
        spec = run.cell.spec
        attack = "none" if spec.attack is None else _text(spec.attack)
        runs[run.cell.scenario, _text(spec.defenses), attack, spec.seed] = run
    return Sheet(
        runs, results.refused, all(run.footer["status"] != "missing" for run in runs.values())
    )


def load_of(step: Step) -> Load:
    """Count the runs of a step by kind, and the groups they come in."""
    by = {hook: [w for w in step.weapons if w.hook == hook] for hook in HOOKS}
    several = len(step.stacks) * len(step.seeds)
    kinds = Counter([WATCHED if by["watch"] else CALM, *(w.name for w in by["client"])])
    kinds.update([CALM, *(w.name for w in by["wire"])] if by["wire"] else [])
    runs = {kind: several * n for kind, n in kinds.items()}
    return Load(runs, several * (1 + bool(by["wire"])))


def kind_of(spec: Experiment) -> str:
    """Return what kind of run this is, for how long it takes."""
    if spec.attack is None:
        return WATCHED if spec.observe else CALM
    return Weapon(spec.attack).name


def _table(setting: Setting, step: Step) -> dict[str, Any]:
    rounds = int(setting.base["federation"]["rounds"])
    shared = {
        **setting.base,
        "evaluation": {"every": max(rounds // 4, 1), "on": step.on},
    }
    starts_at = rounds // QUIET
    stacks = [[dict(stage) for stage in stack] for stack in step.stacks]
    by = {hook: [w.component for w in step.weapons if w.hook == hook] for hook in HOOKS}
    hospitals = {
        "title": HOSPITALS,
        "experiment": {
            **shared,
            "threat": {
                "hostile": setting.asked.hostile,
                "starts_at": starts_at,
                "knows_defense": True,
            },
        },
        "over": {"attack": ["none", *by["client"]], "defenses": stacks},
        "watch": by["watch"],
    }
    wire = {
        "title": WIRE,
        "experiment": {**shared, "threat": {"role": "interceptor", "starts_at": starts_at}},
        "over": {"attack": by["wire"], "defenses": stacks},
    }
    table = {
        "name": step.name,
        "title": f"{setting.asked.name}: {step.name}",
        "skip_refused": True,
        "exploratory": step.on == "validation",
        "seeds": list(step.seeds),
        "scenarios": [hospitals, *([wire] if by["wire"] else [])],
    }
    copied: dict[str, Any] = json.loads(json.dumps(table))
    return copied


HOOKS = ("client", "watch", "wire")


def _text(value: Any) -> str:
    plain = [dict(stage) for stage in value] if isinstance(value, Sequence) else dict(value)
    return json.dumps(plain, sort_keys=True)


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else math.nan
