"""The protocols of defenses: what a server stage is given, and what it must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor

from asepsis.core.channel import Carried, Channel, Waiting
from asepsis.core.desk import Network, Root
from asepsis.core.layout import Layout
from asepsis.core.samples import Kind, Shard
from asepsis.core.updates import Aggregate, Delivery, Individual, Screened, State

D_contra = TypeVar("D_contra", bound=Delivery, contravariant=True)


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What a server stage may use besides the delivery.

    ``spent`` says how many of ``f`` are spent: one for each row that the front door dropped (not
    finite), and for rows that a screen dropped as many as leave the stage a quorum. ``rng`` is
    the stage's own generator for this round.
    ``received`` is the row that the hospitals trained from; of its columns the first
    ``parameters`` are parameters, the rest buffers. What a stage uses beyond round, generator and
    its own state it names in ``needs``, out of ``received``, ``layout``, ``head`` (in the layout a
    classifier's output layer, one neuron a class), ``network``, ``root`` and ``side:NAME``
    (telemetry); ``history`` says that it remembers hospitals over rounds.
    ``expected`` is how many hospitals the protocol expects in a round, where there is a protocol.
    """

    round: int
    rng: np.random.Generator
    spent: int = 0
    received: Tensor | None = None
    layout: Layout | None = None
    network: Network | None = None
    root: Root | None = None
    expected: float | None = None

    @property
    def parameters(self) -> int | None:
        """How many leading columns are parameters; ``None`` where nobody says."""
        return None if self.layout is None else self.layout.parameters


class Rule(Protocol[D_contra]):
    """An aggregation rule: a delivery in, one row out.

    ``accepts`` names the deliveries it takes: a rule that needs rows cannot stand behind a
    secure sum. ``claims`` says which properties the conformance suite may test
    (``permutation``, ``translation``, ``breakdown-range``, ``breakdown-diameter``). One that
    gives verdicts says in ``why`` (str) what a low one means; so does a screen.
    """

    accepts: ClassVar[frozenset[type]]
    claims: ClassVar[frozenset[str]]

    def smallest(self, spent: int = 0) -> int:
        """Return the smallest number of rows this rule works with."""
        ...

    def init(self, dim: int) -> State:
        """Return the state before the first round."""
        ...

    def apply(
        self, state: State, delivery: D_contra, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Aggregate one round's delivery."""
        ...


class Screen(Protocol):
    """Drops, clips, weighs or distrusts single updates before the rule.

    One that makes one row of several says ``merges = True``: no stage that remembers single
    hospitals may follow it. One that only looks says ``watches = True``: it is handed random
    numbers of its own, so that the other stages draw the same ones with it and without it.
    """

    def init(self, dim: int) -> State:
        """Return the state before the first round."""
        ...

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Screen one round's delivery."""
        ...


class Release(Protocol):
    """Shapes the aggregate before the server applies it: noise, a bound on the new model."""

    def init(self, dim: int) -> State:
        """Return the state before the first round."""
        ...

    def apply(
        self, state: State, aggregate: Aggregate, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Shape one round's aggregate."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RoundEvent:
    """What a server saw and did in one round, for whoever writes it down.

    ``sent`` and ``model`` are the global rows before and after, ``delivery`` what the channel
    really carried (``None`` when nobody answered), ``stages`` the stages' reports.
    """

    experiment: str
    round: int
    sent: Tensor
    delivery: Delivery | None
    aggregate: Tensor | None
    model: Tensor
    void: str | None = None
    dropped: tuple[int, ...] = ()
    stages: Sequence[Mapping[str, Any]] = ()


class Audit(Protocol):
    """Writes down what happened; ``lines`` are appended to a file of the run."""

    def init(self, dim: int) -> State:
        """Return the state before the first round."""
        ...

    def record(self, state: State, event: RoundEvent) -> tuple[State, tuple[bytes, ...]]:
        """Return the next state and one round's lines."""
        ...

    def close(
        self, state: State, experiment: str, rounds: int, record: str
    ) -> tuple[State, tuple[bytes, ...], dict[str, Any]]:
        """End the run: return state, last lines, and a note for the run's record.

        ``record`` is the hash of the record's deterministic part.
        """
        ...

    def kept(self, state: State, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Return the lines that a run which goes on from ``state`` left before it.

        Raises:
            StoreError: they are not there, or not the ones that this state followed.
        """
        ...


@runtime_checkable
class Certifies(Protocol):
    """A release that can prove something of what the finished model answers."""

    def prove(
        self, state: State, network: Network, shard: Shard, rng: np.random.Generator
    ) -> dict[str, float]:
        """Return named figures on these test samples: shares that are proven, not measured."""
        ...


class StackRecipe(Protocol):
    """A published defense that spans rooms: the stages that it is made of."""

    def stages(self) -> tuple[object, ...]:
        """Return the stages, built, in the order of a stack."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What an inspector is handed of a finished model; nothing tells it what carries a trigger.

    ``reference`` are clean samples that it may trust (root data). ``inputs`` ``[n, ...]`` are to
    be judged: clean and triggered ones in mixed order. ``training`` are training samples as the
    hospitals hold them, some of which may be poisoned.
    """

    network: Network
    row: Tensor
    reference: Shard
    inputs: Tensor
    training: Shard


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """How suspicious an inspector finds inputs ``[n]``, training samples ``[m]``, classes ``[k]``.

    Higher is worse; ``None`` where it says nothing. ``maps`` ``[n, h, w]`` is the saliency of
    every input.
    """

    inputs: Tensor | None = None
    training: Tensor | None = None
    classes: Tensor | None = None
    maps: Tensor | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)


class Inspector(Protocol):
    """Looks at a finished model, or at single predictions of it."""

    kinds: ClassVar[frozenset[Kind]]

    def inspect(self, subject: Subject, rng: np.random.Generator) -> Inspection:
        """Say what is suspicious."""
        ...


class Transport(Protocol):
    """The channel between hospitals and server: what it delivers decides who can see what."""

    delivers: ClassVar[type]
    ideal: ClassVar[bool]

    def deliver(self, updates: Individual, channel: Channel) -> Carried:
        """Carry the updates of those who answer to the server.

        A channel that cannot take every cohort, or every claimed count, says so beforehand in
        ``check_cohort(n)``, ``check_weights(weights)`` and ``check_colluders(n, colluders)``.
        One with messages that somebody on the wire could change says ``tapped = True``, and hands
        them to ``channel.tap`` where there is one.
        """
        ...


@runtime_checkable
class Gathers(Protocol):
    """A channel that says ``apart = True``: it can leave updates at hospitals until it asks."""

    apart: ClassVar[bool]

    def deliver(self, updates: Individual | Waiting, channel: Channel) -> Carried:
        """Carry updates that are here, or let hospitals that are ``channel.apart`` send theirs."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Home:
    """What a hospital has when it protects its own update.

    ``told`` is what server stages announced with the model, by name.
    """

    round: int
    client: int
    received: Tensor
    layout: Layout
    network: Network
    shard: Shard
    told: Mapping[str, float] = field(default_factory=dict)


class ClientStage(Protocol):
    """What a hospital does to its update before it leaves: clip, noise, prune.

    One that says ``silent = True`` lets no telemetry leave but its own. One that not every network
    fits refuses it in ``check_model(module, layout)``.
    """

    def protect(
        self, row: Tensor, home: Home, rng: np.random.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Return the row ``[d]`` to send, and telemetry to send with it."""
        ...


@runtime_checkable
class Announces(Protocol):
    """A server stage that tells hospitals something with the next model: a bound, say."""

    def announce(self, state: State) -> Mapping[str, float]:
        """Return named figures, sent to everybody."""
        ...
