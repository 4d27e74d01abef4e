"""The protocols that others type against. Components implement them; nothing here does work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor, nn

from asepsis.core.channel import Message
from asepsis.core.layout import Layout
from asepsis.core.samples import Array, DataFacts, Kind, Prepare, Samples, Shard
from asepsis.core.threat import (
    BroadcastView,
    ClientView,
    Evidence,
    ReleaseView,
    Sees,
    ServerView,
    WireView,
)
from asepsis.core.updates import State
from asepsis.core.workshop import Recipe, Workshop

V_contra = TypeVar("V_contra", bound=ClientView, contravariant=True)


class Task(Protocol):
    """One clinical task: preparation, loss and metrics."""

    kinds: ClassVar[frozenset[Kind]]
    model: ClassVar[str]
    primary: ClassVar[str]

    def fit(self, train: Sequence[Samples], facts: DataFacts) -> Prepare:
        """Learn the preparation (scaling) from the training samples of all hospitals."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every sample ``[n]``."""
        ...

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Turn model outputs into probabilities ``[n, classes]``."""
        ...

    def metrics(self, probabilities: Array, targets: Array) -> dict[str, float]:
        """Score probabilities against the truth."""
        ...

    def backdoor_metrics(
        self, clean: Array, stamped: Array, targets: Array, target: int, *, erased: bool = False
    ) -> dict[str, float]:
        """Score a backdoor: answers ``[n, k]`` to the same samples, clean and with the trigger.

        ``asr`` is always among the scores. ``erased``: the trigger makes a finding disappear.
        """
        ...


@runtime_checkable
class PerSample(Protocol):
    """A task whose metrics are means over samples: none has to be scored twice."""

    def per_sample(self, probabilities: Array, targets: Array) -> dict[str, Array]:
        """Return every sample's own figures ``[n]``, NaN where it has none."""
        ...


@runtime_checkable
class Whole(Protocol):
    """A task whose samples are slices of whole volumes, which have figures of their own."""

    def whole(
        self, probabilities: Array, targets: Array, ids: Array, volume: int
    ) -> dict[str, float]:
        """Score volumes of side ``volume``, put together from slices by their ids."""
        ...


@runtime_checkable
class Prior(Protocol):
    """A task that knows what to answer without looking at the input: what a model must beat."""

    def prior(self, train: Array, keys: Array, wanted: Array) -> Array:
        """Return such an answer for every wanted key, from training targets and their keys."""
        ...


class ModelBuilder(Protocol):
    """A network as a component: builds a module for an input shape and number of classes."""

    kinds: ClassVar[frozenset[Kind]]

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the module; ``input_shape`` is that of one prepared sample."""
        ...


@runtime_checkable
class PartlyLocal(Protocol):
    """A model with parts that never leave their hospital."""

    @property
    def local(self) -> tuple[str, ...]:
        """What their tensors' names start with."""
        ...


class Trainer(Protocol):
    """What an honest hospital does with the model it receives."""

    def train(
        self,
        module: nn.Module,
        layout: Layout,
        received: Tensor,
        shard: Shard,
        task: Task,
        rng: np.random.Generator,
        work: float,
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Train from ``received`` on ``shard``; return the row ``[d]`` and telemetry.

        ``work`` in (0, 1] is the share of the local steps a straggler manages.
        """
        ...

    def gradient_scale(self, samples: int) -> float:
        """Sum of learning rates over the local steps: delta is about minus this x gradient."""
        ...

    def recipe(self, samples: int, work: float = 1.0) -> Recipe:
        """Return what a hospital with so many samples is told to do."""
        ...

    @property
    def batch(self) -> int:
        """Samples in a local batch."""
        ...


@runtime_checkable
class Keeps(Protocol):
    """A trainer that remembers something at its hospital: an optimizer's moments, say.

    Local parts of the module (:attr:`asepsis.core.layout.Layout.local`) are not its business:
    they are in the module before it trains, and are kept after it.
    """

    def train_on(
        self,
        module: nn.Module,
        layout: Layout,
        received: Tensor,
        shard: Shard,
        task: Task,
        rng: np.random.Generator,
        work: float,
        home: State,
    ) -> tuple[Tensor, Mapping[str, float], State]:
        """Train as :meth:`Trainer.train` does; take up what was kept, return what to keep.

        ``home`` is ``{}`` in the hospital's first round.
        """
        ...


@runtime_checkable
class Draws(Protocol):
    """A trainer that says which samples it uses: without it nobody knows what an update is of."""

    def drawn(self, samples: int, work: float, rng: np.random.Generator) -> Sequence[Tensor]:
        """Return the positions of every local step's samples, as ``train`` draws them.

        ``rng`` is as ``train`` receives it.
        """
        ...


class ServerOptimizer(Protocol):
    """How the server applies an aggregate to the global row."""

    lr: float

    def init(self, dim: int) -> State:
        """Return the state before the first round."""
        ...

    def apply(
        self, state: State, row: Tensor, delta: Tensor, parameters: int
    ) -> tuple[State, Tensor]:
        """Return the next state and global row; buffers (from ``parameters`` on) are averaged."""
        ...


class Trigger(Protocol):
    """A backdoor's pattern: one object for training data, evaluation and pictures."""

    kinds: ClassVar[frozenset[Kind]]

    def stamp(self, inputs: Array, rng: np.random.Generator) -> Array:
        """Return a stamped copy of raw inputs ``[n, ...]``."""
        ...

    def mask(self, shape: tuple[int, ...]) -> Array:
        """Return which elements of one raw input of this shape the trigger changes (bool)."""
        ...


@runtime_checkable
class DataAttack(Protocol):
    """Changes a hostile hospital's own training data."""

    kinds: ClassVar[frozenset[Kind]]

    def poison(self, own: Samples, facts: DataFacts, rng: np.random.Generator) -> Samples:
        """Return the poisoned training samples."""
        ...


@runtime_checkable
class Stamps(DataAttack, Protocol):
    """A data attack with a trigger."""

    @property
    def stamp(self) -> Trigger:
        """The trigger."""
        ...


@runtime_checkable
class BackdoorAttack(Stamps, Protocol):
    """A data attack with a trigger and a target class, which evaluation stamps too."""

    target: int


@runtime_checkable
class Distributed(Protocol):
    """A data attack whose hostile hospitals each play a part."""

    def part(self, rank: int, of: int) -> DataAttack:
        """Return what the hostile hospital number ``rank`` of ``of`` does."""
        ...


@runtime_checkable
class Evolving(Protocol):
    """A backdoor whose trigger changes over the rounds: evaluation stamps the current one."""

    def trigger_in(self, state: State) -> Trigger:
        """Return the trigger that belongs to this state of the attack."""
        ...


@runtime_checkable
class Carried(Protocol):
    """A trigger that samples carry by nature: stamping changes nothing."""

    def carries(self, inputs: Array) -> Array:
        """Return which raw samples carry it, bool ``[n]``; evaluation keeps only those."""
        ...


@runtime_checkable
class Pictured(Protocol):
    """An attack that has images to show when it is over."""

    def pictures(self, state: State) -> dict[str, Tensor]:
        """Return named batches of images ``[n, c, h, w]`` in prepared units, [-1, 1]."""
        ...


@runtime_checkable
class TrainAttack(Protocol):
    """Replaces the training of hostile hospitals.

    One mind: the state passes through the hostile hospitals of a round in order of client id.
    """

    def train(
        self, state: State, shop: Workshop, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        """Return the next state, the row ``[d]`` (local minus received), and measurements."""
        ...


@runtime_checkable
class UpdateAttack(Protocol[V_contra]):
    """Replaces the updates of hostile hospitals; ``sees`` is the least it must be granted."""

    sees: ClassVar[Sees]

    def craft(
        self, state: State, view: V_contra, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        """Return the next state, the rows ``[m, d]`` to send, and measurements to record."""
        ...


@runtime_checkable
class ServerAttack(Protocol):
    """Learns from what a curious server has; returns evidence, never scores itself."""

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Look at one round; ``None`` when there is nothing to claim in it.

        The state is what it remembers: named tensors, ``{}`` before the first round.
        """
        ...


@runtime_checkable
class BroadcastAttack(ServerAttack, Protocol):
    """A malicious server: it changes what it sends before it looks at what comes back.

    Updates come back relative to what each hospital received. The server throws the aggregate of
    a tampered round away: the model stays. It is a run's one attack, never one of those who only
    watch; one that tampers with some options only says in ``tampers`` (bool) whether it does.
    """

    def tamper(
        self, state: State, view: BroadcastView, rng: np.random.Generator
    ) -> tuple[State, Mapping[int, Tensor]]:
        """Return the rows ``[d]`` to send to whom; who is not named gets the real one."""
        ...


@runtime_checkable
class ModelAttack(Protocol):
    """Learns from the released model, as anyone who holds it could."""

    def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence | None:
        """Look at the finished model; ``None`` when there is nothing to claim."""
        ...


@runtime_checkable
class ChannelAttack(Protocol):
    """Sits on the wire between hospitals and server, and decides what arrives.

    It is nobody's hospital: ``threat.hostile`` may be 0. A state passes from one attacked round to
    the next; in the others it hears nothing.
    """

    def intercept(
        self, state: State, view: WireView, rng: np.random.Generator
    ) -> tuple[State, Mapping[int, Message | None], Mapping[str, float]]:
        """Return the next state, what arrives instead of whose message, and measurements.

        ``None``: nothing arrives. Whom it does not name, it lets pass.
        """
        ...


Observer = ServerAttack | ModelAttack
Attack = (
    DataAttack | TrainAttack | UpdateAttack[ClientView] | ServerAttack | ModelAttack | ChannelAttack
)
