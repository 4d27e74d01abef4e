"""What a federation is put together from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from asepsis.core.contracts import (
    Attack,
    ModelBuilder,
    ServerOptimizer,
    Stamps,
    Task,
    Trainer,
)
from asepsis.core.rng import Streams
from asepsis.core.samples import DataFacts, Hospital, Samples
from asepsis.core.stages import Inspector
from asepsis.core.threat import ThreatModel
from asepsis.defenses.pipeline import Pipeline
from asepsis.federation.federation import Schedule, Watch


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The components of a federation, before they are checked against each other."""

    facts: DataFacts
    hospitals: tuple[Hospital, ...]
    task: Task
    model: ModelBuilder
    trainer: Trainer
    pipeline: Pipeline
    server: ServerOptimizer
    threat: ThreatModel
    attack: Attack | None
    schedule: Schedule
    streams: Streams
    probes: Mapping[str, Stamps] = field(default_factory=dict)
    root: tuple[Samples, str] | None = None
    unseen: Hospital | None = None
    inspectors: Mapping[str, Inspector] = field(default_factory=dict)
    observers: Mapping[str, Watch] = field(default_factory=dict)
    candidates: int = 50
    device: str = "cpu"
    name: str = ""


def weights_of(parts: Parts) -> dict[int, float]:
    """Return what every hospital claims: its samples, or 1 where the rule weighs all the same."""
    if getattr(parts.pipeline.rule, "unweighted", False):
        return {hospital.id: 1.0 for hospital in parts.hospitals}
    return {hospital.id: float(len(hospital.train)) for hospital in parts.hospitals}
