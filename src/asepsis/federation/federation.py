"""A federation that is ready to run, and the state that changes from round to round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from asepsis.core.contracts import (
    Attack,
    ChannelAttack,
    DataAttack,
    Observer,
    ServerOptimizer,
    TrainAttack,
)
from asepsis.core.engine import Job, Plan
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import DataFacts, Hospital, Prepare, Shard
from asepsis.core.threat import Facts, Learner, Role, Sees, ThreatModel, When
from asepsis.core.updates import State
from asepsis.defenses.pipeline import Pipeline
from asepsis.federation.candidates import Candidates
from asepsis.federation.desk import RootData

RUNS_OWN = "attack"
"""The name among those who watch of a run's own attack, when that watches."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How many rounds, and who takes part in them.

    ``participation`` is the share of hospitals drawn each round; ``dropout`` the chance that a
    drawn hospital never answers; ``stragglers`` the chance that one manages only
    ``straggler_work`` of its local steps. ``sampling``: a cohort of ``fixed`` size, or each
    hospital by itself with that chance (``poisson``, which privacy accountants assume). With
    ``ema`` > 0 the model that is released and scored is the moving average ``a <- d a + (1 - d) w``
    of the global models, ``d = min(ema, t / (9 + t))`` after t rounds; hospitals go on from ``w``.
    """

    rounds: int
    participation: float = 1.0
    dropout: float = 0.0
    stragglers: float = 0.0
    straggler_work: float = 0.5
    sampling: Literal["fixed", "poisson"] = "fixed"
    ema: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Who was drawn, who answers, and how much of its work each manages."""

    drawn: tuple[int, ...]
    present: tuple[int, ...]
    work: dict[int, float]


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """Somebody who watches, in which rounds, and what they get to see.

    ``sees``: what is delivered, or the ``messages`` that pass, masked where they are.
    """

    attack: Observer
    when: When
    sees: Literal["delivery", "messages"] = "delivery"


@dataclass(frozen=True, kw_only=True, eq=False)
class Federation:
    """Everything that stays the same over rounds."""

    hospitals: tuple[Hospital, ...]
    facts: DataFacts
    plan: Plan
    prepare: Prepare
    learner: Learner
    pipeline: Pipeline
    server: ServerOptimizer
    threat: ThreatModel
    attack: Attack | None
    schedule: Schedule
    streams: Streams
    root: RootData | None = None
    unseen: Hospital | None = None
    observers: Mapping[str, Watch] = field(default_factory=dict)
    candidates: Candidates | None = None
    public: Shard | None = None
    name: str = ""

    def cohort(self, round_: int) -> Cohort:
        """Draw the round's cohort: the same one with and without an attack."""
        ids = sorted(self.plan.weights)
        rng = self.streams.at(Draw.COHORT, round_)
        drawn = self._drawn(ids, rng)
        present = [i for i in drawn if not self._chance(Draw.DROPOUT, round_, i)]
        late = {i for i in present if self._chance(Draw.STRAGGLER, round_, i)}
        work = {i: self.schedule.straggler_work if i in late else 1.0 for i in present}
        return Cohort(tuple(drawn), tuple(present), work)

    def _drawn(self, ids: list[int], rng: np.random.Generator) -> list[int]:
        share = self.schedule.participation
        if self.schedule.sampling == "poisson":
            return [
                i for i, chance in zip(ids, rng.random(len(ids)), strict=True) if chance < share
            ]
        size = max(1, round(share * len(ids)))
        return sorted(int(i) for i in rng.choice(ids, size=size, replace=False))

    @property
    def expected(self) -> float:
        """How many hospitals are drawn in a round, on average."""
        size = self.schedule.participation * len(self.hospitals)
        return size if self.schedule.sampling == "poisson" else max(1, round(size))

    def hostile(self, cohort: Cohort, round_: int) -> tuple[int, ...]:
        """Return the present hospitals that attack in this round."""
        passive = self.attack is None or self.threat.role is not Role.CLIENT
        return () if passive else self._attackers(cohort, round_)

    def intercepts(self, round_: int) -> bool:
        """Whether somebody on the wire attacks in this round."""
        return isinstance(self.attack, ChannelAttack) and self.threat.active(round_)

    def attacked(self, round_: int) -> bool:
        """Whether anybody present attacks in this round, or somebody on the wire."""
        return self.intercepts(round_) or bool(self.hostile(self.cohort(round_), round_))

    @property
    def colluders(self) -> tuple[int, ...]:
        """Hospitals in league with a curious server."""
        return self.threat.clients if self.threat.role is Role.SERVER else ()

    def _attackers(self, cohort: Cohort, round_: int) -> tuple[int, ...]:
        if not self.threat.active(round_):
            return ()
        return tuple(i for i in cohort.present if i in self.threat.clients)

    def departure(self) -> int | None:
        """Return the attackers' last round, the same for a twin; ``None`` when they stay."""
        if self.threat.rounds is None:
            return None
        attacked = range(self.threat.starts_at, self.schedule.rounds)
        present = [t for t in attacked if self._attackers(self.cohort(t), t)]
        return present[-1] if present else None

    def jobs(
        self,
        cohort: Cohort,
        hostile: tuple[int, ...],
        round_: int,
        homes: State | None = None,
        *,
        apart: bool = False,
    ) -> list[Job]:
        """Return what every present hospital has to train, and on which data.

        Hostile hospitals whose training the attack replaces have nothing to train by the protocol,
        unless they do that ``apart``, in processes of their own. ``homes`` is what all hospitals
        have kept.
        """
        poisons = isinstance(self.attack, DataAttack)
        replaced = hostile if isinstance(self.attack, TrainAttack) and not apart else ()
        return [
            Job(
                client=i,
                round=round_,
                shard="poisoned" if poisons and i in hostile else "clean",
                work=cohort.work[i],
                home=part_of(homes or {}, i),
            )
            for i in cohort.present
            if i not in replaced
        ]

    def facts_of(self, round_: int, cohort: Cohort, received: Tensor) -> Facts:
        """Return what any participant knows of the protocol in this round."""
        return Facts(
            round=round_,
            cohort=len(cohort.present),
            server_lr=self.server.lr,
            received=received.clone(),
            parameters=self.plan.layout.parameters,
        )

    @property
    def apart(self) -> bool:
        """Whether hostile hospitals attack apart, each with a mind of its own."""
        return self.threat.sees is Sees.OWN

    def shown_mind(self, minds: State) -> State:
        """Return the state of the attack that evaluation and pictures go by.

        The shared one; of hospitals that attack apart the first one's that has any.
        """
        if not self.apart:
            return minds
        found = (part_of(minds, client) for client in self.threat.clients)
        return next((mind for mind in found if mind), {})

    def _chance(self, draw: Draw, round_: int, client: int) -> bool:
        chance = self.schedule.dropout if draw is Draw.DROPOUT else self.schedule.stragglers
        return bool(chance > 0 and self.streams.at(draw, round_, client).random() < chance)

    def begin(self) -> RoundState:
        """Return the state before the first round."""
        dim, row = self.plan.layout.dim, self.plan.layout.flatten(self.plan.module)
        return RoundState(
            round=0,
            row=row,
            average=row.clone() if self.schedule.ema > 0 else None,
            server=self.server.init(dim),
            pipeline=self.pipeline.init(dim),
            audit=self.pipeline.audit.init(dim) if self.pipeline.audit else {},
        )


@dataclass(frozen=True, slots=True, eq=False)
class RoundState:
    """Everything that changes from round to round: a checkpoint is exactly this.

    ``round`` is the next one to play. ``homes`` is what hospitals keep for themselves, by client
    id; ``average`` the moving average of the global rows, where the protocol asks for it.
    """

    round: int
    row: Tensor
    server: State = field(default_factory=dict)
    pipeline: State = field(default_factory=dict)
    attack: State = field(default_factory=dict)
    audit: State = field(default_factory=dict)
    watch: State = field(default_factory=dict)
    homes: State = field(default_factory=dict)
    average: Tensor | None = None

    @property
    def released(self) -> Tensor:
        """The model that is given out and scored: the average where there is one."""
        return self.row if self.average is None else self.average

    def tensors(self) -> dict[str, Tensor]:
        """Flatten into named tensors for a safetensors file."""
        parts = {
            "server": self.server,
            "pipeline": self.pipeline,
            "attack": self.attack,
            "audit": self.audit,
            "watch": self.watch,
            "homes": self.homes,
            "average": {} if self.average is None else {"row": self.average},
        }
        named = {
            f"{part}/{key}": value for part, state in parts.items() for key, value in state.items()
        }
        return {"row": self.row, "round": torch.tensor(self.round), **named}

    def to(self, device: str) -> RoundState:
        """Return the same state on another device."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return self.from_tensors(moved)

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> RoundState:
        """Undo :meth:`tensors`."""

        def part(name: str) -> State:
            prefix = f"{name}/"
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        return cls(
            round=int(tensors["round"]),
            row=tensors["row"],
            server=part("server"),
            pipeline=part("pipeline"),
            attack=part("attack"),
            audit=part("audit"),
            watch=part("watch"),
            homes=part("homes"),
            average=tensors.get("average/row"),
        )


def part_of(states: State, who: int) -> State:
    """Return one hospital's part of the state of all; all of it for ``who`` < 0.

    Example:
        >>> one = torch.ones(1)
        >>> list(part_of({"3/seen": one, "4/seen": one}, 4))
        ['seen']
    """
    prefix = f"{who}/" if who >= 0 else ""
    return {k.removeprefix(prefix): v for k, v in states.items() if k.startswith(prefix)}


def with_part(states: State, who: int, part: State) -> State:
    """Return the state of all with one hospital's part replaced; all of it for ``who`` < 0."""
    prefix = f"{who}/" if who >= 0 else ""
    kept = {k: v for k, v in states.items() if not k.startswith(prefix)} if prefix else {}
    return {**kept, **{f"{prefix}{key}": value for key, value in part.items()}}


def hostile_hospitals(streams: Streams, hospitals: int, count: int) -> tuple[int, ...]:
    """Draw which hospitals are hostile: an address of its own, the same for every attack.

    Example:
        >>> len(hostile_hospitals(Streams(0), 10, 3))
        3
    """
    rng = streams.at(Draw.THREAT)
    return tuple(sorted(int(i) for i in rng.choice(np.arange(hospitals), count, replace=False)))
