"""The server's stages in order: front door, screens, one rule, releases; what each changed.

The round and :func:`asepsis.aggregate` go through the same front door: rows with NaN or Inf are
dropped first. Each of them, and each that a screen drops, spends one of the rule's ``f``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from asepsis.core.desk import Desk
from asepsis.core.errors import ConfigError, QuorumError
from asepsis.core.registry import options_of
from asepsis.core.rng import Streams
from asepsis.core.stages import (
    Announces,
    Audit,
    Certifies,
    ClientStage,
    Release,
    Rule,
    Screen,
    Transport,
)
from asepsis.core.updates import Delivery, State
from asepsis.defenses.quorum import require_rows
from asepsis.defenses.reports import Outcome
from asepsis.defenses.visit import Contexts, Visit


@dataclass(frozen=True, eq=False)
class Named:
    """A stage with its name and room."""

    name: str
    room: str
    stage: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Pipeline:
    """What hospitals do to their updates, a transport, screens, one rule, releases, one audit."""

    transport: Transport
    rule: Rule[Any]
    screens: tuple[Screen, ...] = ()
    releases: tuple[Release, ...] = ()
    audit: Audit | None = None
    clients: tuple[ClientStage, ...] = ()
    names: tuple[Named, ...] = field(default=())

    def check_cohort(self, size: int) -> None:
        """Refuse a cohort that is too small for the rule, or for a screen that says so.

        A screen that leaves fewer rows by design says so with ``rows_left(n)``; a stage that a
        cohort may be too large for refuses it in ``check_cohort(n)``.

        Raises:
            QuorumError: naming the stage, the smallest cohort and the largest f that fits.
            ConfigError: what a stage refuses for a reason of its own.
        """
        for stage in (*self.clients, self.transport, *self.stages):
            if hasattr(stage, "smallest"):
                require_rows(stage, self.name_of(stage), size)
            if hasattr(stage, "check_cohort"):
                stage.check_cohort(size)
            if hasattr(stage, "rows_left"):
                size = stage.rows_left(size)

    @property
    def at_hospitals(self) -> list[tuple[str, ClientStage]]:
        """What hospitals do to their updates before these leave, by name."""
        return [(self.name_of(stage), stage) for stage in self.clients]

    def announce(self, state: State) -> dict[str, float]:
        """Return what server stages tell hospitals with the next model."""
        parts = zip(self.stages, split(state, len(self.stages)), strict=True)
        told: dict[str, float] = {}
        for stage, own in parts:
            if isinstance(stage, Announces):
                told |= stage.announce(own)
        return told

    @property
    def needs(self) -> frozenset[str]:
        """What the stages use besides the delivery and their own state."""
        return frozenset[str]().union(*(needs_of(stage) for stage in self.stages))

    def check_needs(self, offered: frozenset[str]) -> None:
        """Refuse stages that need what is not there.

        Raises:
            ConfigError: naming the stage and what would have to be given.
        """
        for stage in self.stages:
            missing = sorted(needs_of(stage) - offered)
            if missing:
                raise ConfigError(
                    f"{self.name_of(stage)} needs what the server does not have",
                    place="defenses",
                    got=f"without {', '.join(missing)}",
                    fix="give it, or leave the stage out",
                )

    def describe(self) -> list[dict[str, Any]]:
        """Return every stage with its resolved options and needs, for the record."""
        return [
            {
                "name": named.name,
                "room": named.room,
                **options_of(named.stage),
                **_knows(named.stage),
                **_ideal(named.stage),
                **_why(named.stage),
            }
            for named in self.names
        ]

    def init(self, dim: int) -> State:
        """Return the state of all stages, keys prefixed by the stage's place."""
        return _joined([stage.init(dim) for stage in self.stages])

    @property
    def stages(self) -> tuple[Any, ...]:
        """Screens, rule and releases, in order: those that may keep a state."""
        return (*self.screens, self.rule, *self.releases)

    def name_of(self, stage: object) -> str:
        """Return the name of a stage of this stack."""
        return next(named.name for named in self.names if named.stage is stage)

    def certifying(self, state: State) -> list[tuple[str, Certifies, State]]:
        """Return the stages that can prove something, by name, with their state."""
        parts = split(state, len(self.stages))
        pairs = zip(self.stages, parts, strict=True)
        return [(self.name_of(s), s, own) for s, own in pairs if isinstance(s, Certifies)]

    def receive(
        self,
        state: State,
        delivery: Delivery,
        round_: int,
        streams: Streams,
        desk: Desk | None = None,
    ) -> tuple[State, Outcome]:
        """Take one round's delivery through all stages; a void round leaves the state alone."""
        contexts = Contexts(round_, streams, desk or Desk())
        visit = Visit(self, split(state, len(self.stages)), contexts)
        try:
            outcome = visit.play(delivery)
        except QuorumError as error:
            void = f"no-quorum: {error}"
            return state, Outcome(None, void, visit.dropped, tuple(visit.reports))
        return (state if outcome.aggregate is None else _joined(visit.states)), outcome


def needs_of(stage: object) -> frozenset[str]:
    """Return what a stage declares to need, its own memory left out."""
    declared: frozenset[str] = getattr(stage, "needs", frozenset())
    return declared - {"history"}


def _knows(stage: object) -> dict[str, list[str]]:
    declared: frozenset[str] = getattr(stage, "needs", frozenset())
    return {"knows": sorted(declared)} if declared else {}


def _why(stage: object) -> dict[str, str]:
    """Return why a stage lets less of a hospital's update through, where it says."""
    why = getattr(stage, "why", None)
    return {} if why is None else {"why": why}


def _ideal(stage: object) -> dict[str, bool]:
    """Whether a stage stands in for a protocol that it does not carry out, where it says."""
    return {"ideal": bool(stage.ideal)} if hasattr(stage, "ideal") else {}


def _joined(states: list[State]) -> State:
    return {f"{place}/{key}": value for place, s in enumerate(states) for key, value in s.items()}


def split(state: State, count: int) -> list[State]:
    """Return the state of each of so many stages, out of that of all."""
    parts: list[State] = [{} for _ in range(count)]
    for key, value in state.items():
        place, _, name = key.partition("/")
        parts[int(place)][name] = value
    return parts
