"""The threat model is a type, and the engine enforces it.

An attack gets one narrow frozen view and its own generator, never the server, the trainer or the
client list. What a weaker view does not grant, it has no field for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from torch import Tensor, nn

from asepsis.core.channel import Message
from asepsis.core.layout import Layout
from asepsis.core.samples import Kind, Shard
from asepsis.core.updates import Delivery

if TYPE_CHECKING:
    from asepsis.core.workshop import Recipe


class Role(StrEnum):
    """Who attacks."""

    CLIENT = "client"
    SERVER = "server"
    EAVESDROPPER = "eavesdropper"
    INTERCEPTOR = "interceptor"


class Sees(StrEnum):
    """How much hostile hospitals know of the round's updates."""

    OWN = "own"
    COLLUDERS = "colluders"
    OMNISCIENT = "omniscient"

    def grants(self, needed: Sees) -> bool:
        """Whether this much knowledge covers ``needed``.

        Example:
            >>> Sees.OMNISCIENT.grants(Sees.COLLUDERS), Sees.OWN.grants(Sees.COLLUDERS)
            (True, False)
        """
        order = list(Sees)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, kw_only=True)
class When:
    """In which rounds somebody attacks or looks.

    ``starts_at`` is the first round (0-based), ``every`` the rounds from one to the next,
    ``rounds`` how many in all (1: a single shot), ``None`` until the end.
    """

    starts_at: int = 0
    every: int = 1
    rounds: int | None = None

    def active(self, round_: int) -> bool:
        """Whether it happens in this round.

        Example:
            >>> [When(starts_at=2, rounds=2).active(t) for t in range(5)]
            [False, False, True, True, False]
            >>> [t for t in range(20) if When(starts_at=3, every=5, rounds=3).active(t)]
            [3, 8, 13]
        """
        turn, between = divmod(round_ - self.starts_at, self.every)
        ended = self.rounds is not None and turn >= self.rounds
        return turn >= 0 and between == 0 and not ended


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """Who attacks, what they see and know, and when.

    ``starts_at`` is the first attacked round (0-based), ``every`` the rounds from one attack to
    the next, ``rounds`` how many rounds are attacked in all (1: a single shot), ``None`` until
    the end. ``knows_defense`` grants the stack of defenses in use as a function. ``telemetry``:
    hostile hospitals report ``own`` figures (their training loss), or ``mimic`` what honest
    hospitals report on average in this round. ``attested``: hostile hospitals too pass their
    updates through the clipping and noise that hospitals are told to apply.
    """

    role: Role = Role.CLIENT
    sees: Sees = Sees.OMNISCIENT
    clients: tuple[int, ...] = ()
    starts_at: int = 0
    rounds: int | None = None
    every: int = 1
    knows_defense: bool = False
    telemetry: Literal["own", "mimic"] = "own"
    attested: bool = False

    def active(self, round_: int) -> bool:
        """Whether the attack happens in this round.

        Example:
            >>> [ThreatModel(starts_at=2, rounds=2).active(t) for t in range(5)]
            [False, False, True, True, False]
        """
        return self.when.active(round_)

    @property
    def when(self) -> When:
        """In which rounds the attack happens."""
        return When(starts_at=self.starts_at, every=self.every, rounds=self.rounds)


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Facts of the protocol that any participant knows.

    Of a row's columns the first ``parameters`` are parameters (all when ``None``), the rest are
    buffers such as BatchNorm's running variance.

    ``rule`` is the stack of defenses in use, as a function from rows ``[n, d]`` to the aggregate
    ``[d]``: granted only where the threat model says that the attacker knows the defense.
    """

    round: int
    cohort: int
    server_lr: float
    received: Tensor | None = None
    rule: Callable[[Tensor], Tensor] | None = None
    parameters: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """One hostile hospital sees only the row ``[1, d]`` it would honestly have sent."""

    facts: Facts
    clients: tuple[int, ...]
    rows: Tensor

    @property
    def reference(self) -> Tensor:
        """The honest rows that this view grants."""
        return self.rows


@dataclass(frozen=True, slots=True, eq=False)
class Colluders:
    """Hostile hospitals share the rows ``[m, d]`` they would honestly have sent."""

    facts: Facts
    clients: tuple[int, ...]
    rows: Tensor

    @property
    def reference(self) -> Tensor:
        """The honest rows that this view grants."""
        return self.rows


@dataclass(frozen=True, slots=True, eq=False)
class Omniscient:
    """As :class:`Colluders`, and they see the honest hospitals' rows ``[h, d]`` too."""

    facts: Facts
    clients: tuple[int, ...]
    rows: Tensor
    honest: Tensor

    @property
    def reference(self) -> Tensor:
        """The honest rows that this view grants."""
        return self.honest


ClientView = Own | Colluders | Omniscient


class Learner(Protocol):
    """What anyone who knows the architecture and the protocol can compute.

    Pure functions of a row ``[d]`` of absolute weights (what was sent, not an update). Targets are
    as training has them; where they are differentiated, soft ones of ``target_shape`` a sample.
    """

    @property
    def layout(self) -> Layout:
        """The network's place in a row."""
        ...

    @property
    def kind(self) -> Kind:
        """The kind of data."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one prepared sample."""
        ...

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of one target that can be differentiated: ``(classes,)``, or an image's."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes; 0 where targets are images."""
        ...

    @property
    def parameters(self) -> int:
        """Of a row's columns so many are parameters, the rest buffers."""
        ...

    def gradient(self, row: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient ``[d]`` of the mean training loss, in training mode.

        Differentiable in ``inputs`` and ``targets``; the columns of buffers are 0.
        """
        ...

    def gradients(self, row: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return each sample's own gradient ``[n, d]``, in evaluation mode."""
        ...

    def losses(self, row: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return each sample's loss ``[n]``, in evaluation mode."""
        ...

    def probabilities(self, row: Tensor, inputs: Tensor) -> Tensor:
        """Return what the model answers: ``[n, classes]``, or images."""
        ...

    def fit(self, row: Tensor, shard: Shard, rng: np.random.Generator, work: float = 1.0) -> Tensor:
        """Train by the protocol, as a hospital with these samples would; return the new row."""
        ...

    def fresh(self, rng: np.random.Generator) -> Tensor:
        """Return a newly initialized row of the same architecture."""
        ...

    def copy(self, row: Tensor) -> nn.Module:
        """Return a private copy of the network in evaluation mode, loaded with the row."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What is known of a federation before its first round: whether an attack fits shows in it.

    ``row`` ``[d]`` is the first model, ``samples`` the training samples of every hospital;
    ``scale`` and ``recipe`` are those of :class:`ServerView`. An attack that looks and does not
    fit every model or protocol has ``check(setting)``, which raises ConfigError.
    """

    learner: Learner
    row: Tensor
    scale: Callable[[int], float]
    recipe: Callable[[int], Recipe]
    samples: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ServerView:
    """What a curious server has in one round.

    ``scale(samples)`` is the sum of learning rates over the local steps of a hospital with so
    many samples: it turns a delta into an average gradient. ``batch`` is the local batch size,
    ``recipe(samples)`` all that such a hospital is told to do. They are part of the protocol that
    the server runs.

    ``candidates`` are samples it wonders about, in an order that says nothing; ``public`` are
    samples of the same kind that nobody trains or tests on. ``wire`` is what passed the channel
    where that is not what the server may read: masked vectors ``[d]`` by client. ``told`` is what
    it sent to whom where that was not ``sent``; ``colluders`` are rows that hospitals in league
    with it show it, ``counts`` the sample counts that they claim. ``cohort`` are the hospitals
    whose updates were carried: a server knows who takes part, whatever the channel hides.
    """

    facts: Facts
    sent: Tensor
    delivery: Delivery
    learner: Learner
    scale: Callable[[int], float]
    batch: int
    recipe: Callable[[int], Recipe]
    candidates: Shard | None = None
    public: Shard | None = None
    wire: Mapping[int, Tensor] | None = None
    told: Mapping[int, Tensor] = field(default_factory=dict)
    colluders: Mapping[int, Tensor] = field(default_factory=dict)
    counts: Mapping[int, float] = field(default_factory=dict)
    cohort: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class BroadcastView:
    """What a server that tampers with the model has before it sends it to the ``cohort``."""

    facts: Facts
    sent: Tensor
    cohort: tuple[int, ...]
    learner: Learner
    public: Shard | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WireView:
    """What an interceptor has of one round: all that passes between server and hospitals.

    ``sent`` is the model that the server sent down, ``messages`` what hospitals sent up, by
    hospital: copies. Keys it has none, nor anything that stays at a hospital or at the server.
    """

    facts: Facts
    sent: Tensor
    messages: Mapping[int, Message]


@dataclass(frozen=True, slots=True, eq=False)
class ReleaseView:
    """What anyone has who holds the released model ``row`` ``[d]``."""

    facts: Facts
    row: Tensor
    learner: Learner
    recipe: Callable[[int], Recipe]
    candidates: Shard | None = None
    public: Shard | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What an observing attack claims to have learned, to be scored against the truth.

    ``kind`` says how it is scored. ``guesses`` are named tensors (reconstructed inputs, membership
    scores); ``about`` names the client they belong to, ``None`` when the channel does not tell.
    ``clients`` are those behind the columns of a matrix of scores.
    """

    kind: str
    guesses: dict[str, Tensor]
    about: int | None = None
    clients: tuple[int, ...] = ()
    measurements: dict[str, float] = field(default_factory=dict)
