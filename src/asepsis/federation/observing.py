"""Who watches a federation: curious servers round by round, and whoever holds the model after."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor

from asepsis.core.channel import Carried
from asepsis.core.contracts import BroadcastAttack, ModelAttack, ServerAttack
from asepsis.core.errors import ConfigError
from asepsis.core.rng import Draw
from asepsis.core.samples import Shard
from asepsis.core.threads import one_thread
from asepsis.core.threat import (
    BroadcastView,
    Evidence,
    Facts,
    ReleaseView,
    ServerView,
)
from asepsis.core.updates import Delivery, Grouped, Individual, Rows, State
from asepsis.federation.evidence import checked, checked_state
from asepsis.federation.federation import RUNS_OWN, Cohort, Federation


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one observer claims, under the name it has in the record."""

    by: str
    evidence: Evidence


def tampers(attack: object) -> TypeGuard[BroadcastAttack]:
    """Whether an attack changes what the server sends, with the options that it has."""
    return isinstance(attack, BroadcastAttack) and bool(getattr(attack, "tampers", True))


def tampered(
    federation: Federation, minds: State, cohort: Cohort, facts: Facts, sent: Tensor
) -> tuple[State, dict[int, Tensor]]:
    """Let a malicious server change what it sends: absolute rows by client."""
    watch = federation.observers.get(RUNS_OWN)
    if watch is None or not watch.when.active(facts.round) or not tampers(watch.attack):
        return minds, {}
    view = BroadcastView(
        facts=replace(facts, received=sent.clone()),
        sent=sent.clone(),
        cohort=cohort.present,
        learner=federation.learner,
        public=_own(federation.public),
    )
    rng = federation.streams.at(Draw.ATTACK_BROADCAST, facts.round)
    with one_thread():
        mind, rows = watch.attack.tamper(mind_of_observer(minds, RUNS_OWN), view, rng)
    told = {client: rows[client] for client in cohort.present if client in rows}
    place = f"attack {type(watch.attack).__name__}"
    return with_observer(minds, RUNS_OWN, checked_state(mind, place)), {
        client: _sendable(row, client, sent, place) for client, row in told.items()
    }


def _sendable(row: object, client: int, sent: Tensor, place: str) -> Tensor:
    fits = isinstance(row, Tensor) and row.shape == sent.shape
    if isinstance(row, Tensor) and fits and bool(row.isfinite().all()):
        return row.detach().to(sent).clone()
    raise ConfigError(
        f"what it sends to hospital {client} is no model",
        place=place,
        got="values that are not finite" if fits else getattr(row, "shape", row),
        fix=f"send a finite tensor of shape {tuple(sent.shape)}",
    )


def observed(
    federation: Federation,
    minds: State,
    came: Carried,
    rows: Individual,
    facts: Facts,
    sent: Tensor,
    told: Mapping[int, Tensor],
) -> tuple[State, tuple[Seen, ...]]:
    """Let everybody who watches look at what was delivered."""
    found: list[Seen] = []
    assert came.delivery is not None
    for name, watch in federation.observers.items():
        if not (isinstance(watch.attack, ServerAttack) and watch.when.active(facts.round)):
            continue
        delivery = came.delivery if watch.sees == "delivery" else overheard(came)
        if delivery is None:
            continue
        view = ServerView(
            facts=replace(facts, received=sent.clone()),
            sent=sent.clone(),
            delivery=copied(delivery),
            learner=federation.learner,
            scale=federation.plan.trainer.gradient_scale,
            batch=federation.plan.trainer.batch,
            recipe=federation.plan.trainer.recipe,
            candidates=_candidates(federation),
            public=_own(federation.public),
            wire=None if came.wire is None else Passed(came.wire),
            told={client: row.clone() for client, row in told.items()},
            colluders=_shown(federation, rows),
            counts=_claimed(federation, rows),
            cohort=rows.clients,
        )
        rng = _draws(federation, name, Draw.ATTACK_OBSERVE, facts.round)
        with one_thread():
            mind, evidence = watch.attack.observe(mind_of_observer(minds, name), view, rng)
        minds = with_observer(minds, name, checked_state(mind, name))
        claim = checked(evidence, name, federation)
        if claim is not None:
            found.append(Seen(name, claim))
    return minds, tuple(found)


def overheard(came: Carried) -> Delivery | None:
    """Return what passes a channel as an eavesdropper reads it.

    Masked vectors where there are any, single updates where nothing hides them; nothing of an
    ideal sum, which has no messages. Counts under masks are unknown, and taken to be equal.
    """
    if came.wire:
        clients = tuple(sorted(came.wire))
        rows = torch.stack([came.wire[client] for client in clients])
        return Individual(clients, Rows(rows), torch.ones(len(clients), dtype=torch.float64))
    return came.delivery if isinstance(came.delivery, Individual) else None


def inferred(federation: Federation, row: Tensor, facts: Facts) -> tuple[Seen, ...]:
    """Let everybody who attacks the released model look at it."""
    found = []
    for name, watch in federation.observers.items():
        if not isinstance(watch.attack, ModelAttack):
            continue
        view = ReleaseView(
            facts=replace(facts, received=row.clone()),
            row=row.clone(),
            learner=federation.learner,
            recipe=federation.plan.trainer.recipe,
            candidates=_candidates(federation),
            public=_own(federation.public),
        )
        with one_thread():
            evidence = watch.attack.infer(view, _draws(federation, name, Draw.ATTACK_INFER))
        claim = checked(evidence, name, federation)
        if claim is not None:
            found.append(Seen(name, claim))
    return tuple(found)


def copied(delivery: Delivery) -> Delivery:
    """A view must not be a way into what the server goes on with."""
    if isinstance(delivery, Grouped):
        delivery = replace(delivery, members=dict(delivery.members))
    if isinstance(delivery, Individual):
        return replace(
            delivery,
            rows=Rows(delivery.rows.dense().clone()),
            weights=delivery.weights.clone(),
            side={name: values.clone() for name, values in delivery.side.items()},
        )
    return replace(delivery, total=delivery.total.clone(), side=dict(delivery.side))


class Passed(Mapping[int, Tensor]):
    """What passed by client, a copy whenever it is read."""

    def __init__(self, wire: Mapping[int, Tensor]) -> None:
        self._wire = wire

    def __getitem__(self, client: int) -> Tensor:
        return self._wire[client].clone()

    def __iter__(self) -> Iterator[int]:
        return iter(self._wire)

    def __len__(self) -> int:
        return len(self._wire)


def mind_of_observer(minds: State, name: str) -> State:
    """Return what one observer remembers."""
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in minds.items() if k.startswith(prefix)}


def with_observer(minds: State, name: str, mind: State) -> State:
    """Return what all observers remember, with one's part replaced."""
    prefix = f"{name}/"
    kept = {k: v for k, v in minds.items() if not k.startswith(prefix)}
    return {**kept, **{f"{prefix}{key}": value for key, value in mind.items()}}


def _shown(federation: Federation, rows: Individual) -> dict[int, Tensor]:
    """What hospitals in league with the server show it of their own."""
    return {
        client: rows.rows.row(i).clone()
        for i, client in enumerate(rows.clients)
        if client in federation.colluders
    }


def _claimed(federation: Federation, rows: Individual) -> dict[int, float]:
    """What hospitals in league with the server claim to have trained on."""
    pairs = zip(rows.clients, rows.weights.tolist(), strict=True)
    return {client: count for client, count in pairs if client in federation.colluders}


def _own(shard: Shard | None) -> Shard | None:
    return None if shard is None else Shard(shard.inputs.clone(), shard.targets.clone())


def _candidates(federation: Federation) -> Shard | None:
    return None if federation.candidates is None else _own(federation.candidates.shard)


def _draws(federation: Federation, name: str, draw: Draw, *where: int) -> np.random.Generator:
    """Return an observer's own generator: two of one kind must not draw the same."""
    alone = name == RUNS_OWN
    return federation.streams.at(draw, *where, *(() if alone else (zlib.crc32(name.encode()),)))
