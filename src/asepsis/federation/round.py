"""The only loop: one round of a federation, from the broadcast to the next global model."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from asepsis.core.contracts import Engine, ServerAttack, UpdateAttack
from asepsis.core.errors import ConfigError
from asepsis.core.rng import Draw
from asepsis.core.threat import (
    ClientView,
    Colluders,
    Evidence,
    Facts,
    Omniscient,
    Own,
    Role,
    Sees,
    ServerView,
)
from asepsis.core.updates import Delivery, Individual, Reply, State, individual
from asepsis.defenses.pipeline import Outcome
from asepsis.federation.federation import Cohort, Federation, RoundState


@dataclass(frozen=True, slots=True, eq=False)
class RoundOutcome:
    """What happened in a round, for the record and for metrics."""

    round: int
    cohort: Cohort
    hostile: tuple[int, ...]
    train_loss: dict[int, float]
    crafted: dict[str, float]
    server: Outcome | None
    void: str | None
    evidence: Evidence | None
    seconds: dict[str, float]


def play_round(
    federation: Federation, engine: Engine, state: RoundState
) -> tuple[RoundState, RoundOutcome]:
    """Play round ``state.round`` and return the next state and what happened."""
    clock = _Clock()
    t, sent = state.round, state.row
    cohort = federation.cohort(t)
    hostile = federation.hostile(cohort, t)
    facts = federation.facts_of(t, cohort, sent)

    replies = engine.train(sent, federation.jobs(cohort, hostile, t)) if cohort.present else []
    clock.lap("training")

    minds, replies, crafted = craft(federation, state.attack, replies, hostile, facts)
    clock.lap("attack")

    outcome, evidence = None, None
    void: str | None = "no hospital answered"
    pipeline, server, row = state.pipeline, state.server, sent
    if replies:
        delivery = federation.pipeline.transport.deliver(individual(replies))
        evidence = observe(federation, delivery, facts, sent)
        pipeline, outcome = federation.pipeline.receive(
            state.pipeline, delivery, t, federation.streams
        )
        void = outcome.void
        if outcome.aggregate is not None:
            parameters = federation.plan.layout.parameters
            server, row = federation.server.apply(
                state.server, sent, outcome.aggregate.delta, parameters
            )
            if not bool(torch.isfinite(row).all()):
                server, row, void = state.server, sent, "overflow"
    clock.lap("server")

    after = RoundState(round=t + 1, row=row, server=server, pipeline=pipeline, attack=minds)
    losses = {reply.client: float(reply.side.get("loss", float("nan"))) for reply in replies}
    return after, RoundOutcome(
        t, cohort, hostile, losses, crafted, outcome, void, evidence, clock.laps
    )


def craft(
    federation: Federation,
    state: State,
    replies: list[Reply],
    hostile: tuple[int, ...],
    facts: Facts,
) -> tuple[State, list[Reply], dict[str, float]]:
    """Let the attack replace the rows of hostile hospitals, with the view it was granted."""
    attack = federation.attack
    if not isinstance(attack, UpdateAttack) or not hostile:
        return state, replies, {}
    bad = individual([reply for reply in replies if reply.client in hostile])
    good = [reply for reply in replies if reply.client not in hostile]
    honest = individual(good).rows.dense() if good else bad.rows.dense()[:0]
    made: dict[int, Tensor] = {}
    measured: dict[str, float] = {}
    if not good and attack.sees is Sees.OMNISCIENT:
        return state, replies, {}  # nothing honest to look at in this round
    for view in _views(federation.threat.sees, facts, bad.clients, bad.rows.dense(), honest):
        who = view.clients[0] if isinstance(view, Own) else -1
        rng = federation.streams.at(Draw.ATTACK_UPDATE, facts.round, who)
        mind, rows, notes = attack.craft(_mind(state, who), view, rng)
        if tuple(rows.shape) != (len(view.clients), row_length(view)):
            raise ConfigError(
                "the attack crafted rows of the wrong shape",
                place=f"attack {type(attack).__name__}",
                got=tuple(rows.shape),
                fix=f"it must return {(len(view.clients), row_length(view))}",
            )
        state = _merged(state, who, mind)
        made |= dict(zip(view.clients, rows, strict=True))
        suffix = f"/{who}" if who >= 0 else ""
        measured |= {f"{name}{suffix}": value for name, value in notes.items()}
    merged = [
        replace(reply, row=made[reply.client]) if reply.client in made else reply
        for reply in replies
    ]
    return state, merged, measured


def row_length(view: ClientView) -> int:
    """Length of a row."""
    return int(view.rows.shape[1])


def _mind(state: State, who: int) -> State:
    """Return the part of an attack's state that this mind owns: all of it, or one hospital's."""
    prefix = f"{who}/" if who >= 0 else ""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _merged(state: State, who: int, mind: State) -> State:
    prefix = f"{who}/" if who >= 0 else ""
    kept = {k: v for k, v in state.items() if not k.startswith(prefix)} if prefix else {}
    return {**kept, **{f"{prefix}{key}": value for key, value in mind.items()}}


def _views(
    sees: Sees, facts: Facts, clients: tuple[int, ...], rows: Tensor, honest: Tensor
) -> list[ClientView]:
    if sees is Sees.OMNISCIENT and len(honest):
        return [Omniscient(facts, clients, rows, honest)]
    if sees is Sees.OWN:
        return [Own(facts, (c,), rows[i : i + 1]) for i, c in enumerate(clients)]
    return [Colluders(facts, clients, rows)]


def observe(
    federation: Federation, delivery: Delivery, facts: Facts, sent: Tensor
) -> Evidence | None:
    """Let a curious server look at what was delivered."""
    attack, threat = federation.attack, federation.threat
    curious = threat.role is Role.SERVER and threat.active(facts.round)
    if not curious or not isinstance(attack, ServerAttack):
        return None
    trainer = federation.plan.trainer
    view = ServerView(
        facts=facts,
        sent=sent.clone(),
        delivery=_copied(delivery),
        learner=federation.learner,
        scale=trainer.gradient_scale,
        batch=trainer.batch,
    )
    return attack.observe(view, federation.streams.at(Draw.ATTACK_OBSERVE, facts.round))


def _copied(delivery: Delivery) -> Delivery:
    """A view must not be a way into what the server goes on with."""
    if isinstance(delivery, Individual):
        return delivery.with_rows(delivery.rows.dense().clone())
    return replace(delivery, total=delivery.total.clone())


class _Clock:
    """Wall-clock time of each part of a round."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
