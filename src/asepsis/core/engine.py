"""Who trains where: a plan that is handed over once, jobs, and the engines that run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor, nn

from asepsis.core.contracts import Task, Trainer
from asepsis.core.desk import Network
from asepsis.core.layout import Layout
from asepsis.core.samples import Shard
from asepsis.core.stages import ClientStage
from asepsis.core.updates import Reply, State


@dataclass(frozen=True, slots=True)
class Job:
    """One client's training in one round: picklable, and all that an engine needs to know.

    ``home`` is what the client has kept since its last round, ``{}`` when nothing. ``told`` is
    what the server announced to those who protect their updates; ``None``: this one skips it.
    """

    client: int
    round: int
    shard: str = "clean"
    work: float = 1.0
    home: State = field(default_factory=dict)
    told: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything that stays the same over rounds; engines hand it to their workers once.

    ``shards`` maps ``(client, name)`` to prepared training tensors, ``weights`` a client to the
    sample count it claims. ``stages`` are what hospitals do to their updates before these leave,
    for which they have the ``network``.
    """

    module: nn.Module
    layout: Layout
    task: Task
    trainer: Trainer
    seed: int
    shards: Mapping[tuple[int, str], Shard]
    weights: Mapping[int, float] = field(default_factory=dict)
    stages: tuple[ClientStage, ...] = ()
    network: Network | None = None


class Engine(Protocol):
    """Where local training runs. All engines of one numerics class give bit-equal replies."""

    name: ClassVar[str]
    numerics: ClassVar[str]

    def start(self, plan: Plan) -> None:
        """Take the plan; called once before the first round."""
        ...

    def train(self, received: Tensor, jobs: Sequence[Job]) -> list[Reply]:
        """Run the jobs and return their replies sorted by client id."""
        ...

    def close(self) -> None:
        """Stop the workers."""
        ...
