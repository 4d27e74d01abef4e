"""What a consortium asks: its data, its model, the threats it fears, its limits and its time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from asepsis.core.errors import ConfigError, did_you_mean
from asepsis.defenses.audit.files import plain_file
from asepsis.experiments.library import parsed_toml
from asepsis.experiments.spec import (
    Component,
    FederationSpec,
    RootSpec,
    Strict,
    component,
    parse,
)
from asepsis.experiments.threats import THREATS, Goal

ALL = "all"
ALIASES: Mapping[str, tuple[str, ...]] = {
    "poisoning": ("label-flip", "data-poisoning", "gradient-manipulation"),
    "membership": ("membership-inference",),
    "inversion": ("gradient-inversion",),
    "property": ("property-inference",),
}
"""Short words for threats."""
MOST_BYTES = 1 << 20

Points = Annotated[float, Field(ge=0, le=100)]


class LimitsSpec(Strict):
    """What the consortium can live with, in points of 100.

    ``utility``: what a defense may cost while nobody attacks. ``availability``: what an attack
    may take from the model's primary figure. ``integrity``: how many triggered samples, beyond
    those of a clean model, may be read as the attacker wants. ``confidentiality``: how much an
    observer may learn beyond who never looks (an AUC of 0.6 beside a blind 0.5 is 20 points).
    """

    utility: Points = 2.0
    availability: Points = 5.0
    integrity: Points = 20.0
    confidentiality: Points = 20.0

    def of(self, goal: Goal) -> float:
        """Return the limit for a goal, as a share."""
        return float(getattr(self, goal.value)) / 100


class AssessSpec(Strict):
    """One assessment, as it stands in ``federation.toml``.

    ``threats`` are families by key, short words, or ``"all"``; ``hostile`` is how many hospitals
    may be hostile (0: none, and only those who look or intercept are tried); ``defenses`` is what
    is run today; ``also`` are stacks to be tried beside the built-in ones, ``only`` stacks to be
    tried instead of them. With ``search = false``, or ``gate = "today"``, only today's stack is
    measured. At most ``seeds`` fresh seeds are measured at the end, fewer where time is short.
    """

    name: str = "assessment"
    threats: Annotated[tuple[str, ...], Field(min_length=1)] = (ALL,)
    hostile: Annotated[int, Field(ge=0)] = 1
    minutes: Annotated[float, Field(gt=0, le=60 * 24 * 30)] = 10.0
    seeds: Annotated[int, Field(ge=3, le=100)] = 20
    data: Component
    partition: Component | None = None
    task: Component | None = None
    model: Component | None = None
    trainer: Component | None = None
    federation: FederationSpec | None = None
    root: RootSpec = RootSpec()
    defenses: Annotated[tuple[Component, ...], Field(min_length=1)] = ({"name": "mean"},)
    also: tuple[tuple[Component, ...], ...] = ()
    only: tuple[tuple[Component, ...], ...] = ()
    search: bool = True
    limits: LimitsSpec = LimitsSpec()
    gate: Literal["recommended", "today"] = "recommended"

    @field_validator("data", "partition", "task", "model", "trainer", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return component(value)

    @field_validator("threats", mode="before")
    @classmethod
    def _one_threat(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else (value,)

    @field_validator("defenses", mode="before")
    @classmethod
    def _stack(cls, value: object) -> object:
        return _stages(value)

    @field_validator("also", "only", mode="before")
    @classmethod
    def _stacks(cls, value: object) -> object:
        stacks = value if isinstance(value, list | tuple) else [value]
        return tuple(_stages(stack) for stack in stacks)

    def feared(self) -> tuple[str, ...]:
        """Return the keys of the threats, in the order of the survey.

        Raises:
            ConfigError: there is no such threat.
        """
        known = [threat.key for threat in THREATS]
        wanted: set[str] = set()
        for word in self.threats:
            if word != ALL and word not in ALIASES and word not in known:
                fix = did_you_mean(word, [ALL, *ALIASES, *known])
                raise ConfigError("no such threat", place="threats", got=word, fix=fix)
            wanted.update(known if word == ALL else ALIASES.get(word, (word,)))
        return tuple(key for key in known if key in wanted)


def _stages(value: object) -> tuple[object, ...]:
    stages = value if isinstance(value, list | tuple) else [value]
    return tuple(component(stage) for stage in stages)


def load_assessment(path: Path, overrides: Mapping[str, Any] | None = None) -> AssessSpec:
    """Read ``federation.toml``.

    Raises:
        ConfigError: no such file, no TOML, or it does not fit; every problem is reported.
    """
    try:
        with open(path, "rb", opener=plain_file) as file:
            text = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fix = "write one with: asepsis init"
        raise ConfigError(reason, place=str(path), fix=fix) from None
    if len(text) > MOST_BYTES:
        raise ConfigError("larger than any assessment", place=str(path), fix="at most 1 MiB")
    try:
        table = parsed_toml(text.decode(), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"no TOML: {error}", place=str(path)) from None
    return assessment_of({**table, **dict(overrides or {})})


def assessment_of(table: Mapping[str, Any]) -> AssessSpec:
    """Validate an assessment given as a table.

    Raises:
        ConfigError: every problem at once.

    Example:
        >>> assessment_of({"data": "heart-disease", "threats": "poisoning"}).feared()
        ('label-flip', 'data-poisoning', 'gradient-manipulation')
    """
    spec: AssessSpec = parse(AssessSpec, table)
    spec.feared()
    return spec
