"""Runs in which hostile hospitals never take part: what an attack or a defense is held against.

An attack-free twin has the hostile hospital's honest images too, an attacked federation only those
of the others. What an attack did is seen beside a federation of these others alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from asepsis.experiments.results import Run
from asepsis.experiments.spec import Experiment, ThreatSpec

EXCLUDE = "exclude"
RULES = ("mean", "weighted-mean")
"""Rules of which honest hospitals alone are averaged, the first one first."""
IDLE = ("plain", "monitor")
"""Stages that change nothing."""


def hostile(run: Run) -> frozenset[int]:
    """Return which hospitals attack: those named, else those that the record says were drawn."""
    named = run.cell.spec.threat.hostile
    return frozenset(run.resolved.get("hostile", ()) if isinstance(named, int) else named)


def excluded(run: Run) -> frozenset[int]:
    """Return which hospitals the server was told to leave out."""
    told = [stage for stage in run.cell.spec.defenses if stage["name"] == EXCLUDE]
    return frozenset(int(client) for stage in told for client in stage.get("hospitals", ()))


def is_oracle(run: Run) -> bool:
    """Whether the server was told exactly who is hostile, which nobody can know."""
    return bool(excluded(run)) and excluded(run) == hostile(run)


def honest_alone(runs: Iterable[Run]) -> dict[Run, Run]:
    """Return for attacked runs the one of the same seed with the same honest hospitals alone.

    That is one behind ``exclude`` of the hostile ones, and a mean, in which nobody else attacks;
    runs without such a companion are left out.
    """
    runs = list(runs)
    known: dict[tuple[str, frozenset[int]], Run] = {}
    for rule in RULES:
        for run in runs:
            if _averages(run.cell.spec, rule) and _nobody_else(run):
                known.setdefault((_shared(run.cell.spec), excluded(run)), run)
    attacked = [run for run in runs if run.cell.spec.attack is not None]
    keys = {run: (_shared(run.cell.spec), hostile(run)) for run in attacked}
    return {run: known[key] for run, key in keys.items() if key in known}


def _averages(spec: Experiment, rule: str) -> bool:
    return [stage["name"] for stage in spec.defenses if stage["name"] not in IDLE] == [
        EXCLUDE,
        rule,
    ]


def _nobody_else(run: Run) -> bool:
    attacks = run.cell.spec.attack is not None
    return run.ok and bool(excluded(run)) and not (attacks and hostile(run) - excluded(run))


def _shared(spec: Experiment) -> str:
    """Return the hash of what two runs have in common that differ in attack and defenses only."""
    bare: dict[str, object] = {
        "attack": None,
        "probes": {},
        "defenses": (),
        "inspect": (),
        "threat": ThreatSpec(),
    }
    return spec.model_copy(update=bare).digest()
