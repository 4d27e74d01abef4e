"""What hostile hospitals do in a round, with the view that the threat model grants."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.channel import Channel
from asepsis.core.contracts import TrainAttack, UpdateAttack
from asepsis.core.desk import Desk
from asepsis.core.errors import ConfigError
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Shard
from asepsis.core.threads import one_thread
from asepsis.core.threat import ClientView, Colluders, Facts, Omniscient, Own, Sees
from asepsis.core.updates import Individual, Reply, Rows, State, individual
from asepsis.core.workshop import Workshop
from asepsis.federation.federation import Cohort, Federation, part_of, with_part
from asepsis.federation.protecting import home_of, protected_row

Notes = dict[str, float]


def stack_in_use(
    federation: Federation,
    state: State,
    cohort: Cohort,
    hostile: tuple[int, ...],
    facts: Facts,
    desk: Desk,
    told: Mapping[int, Tensor],
) -> Callable[[Tensor], Tensor]:
    """Return the defenses as a function from rows ``[n, d]`` to the aggregate ``[d]``.

    It plays a whole delivery against the stack's present state, and changes nothing; NaN where
    the stack would void the round. As many rows as hospitals answer are taken for theirs, hostile
    ones first, so that what the defense remembers of each hospital counts; counts are equal and
    all report a loss of 1. Where hostile hospitals are attested, their rows pass first through
    what hospitals are told to do. The random numbers are the attacker's own: knowing a defense is
    not knowing its dice.
    """
    round_ = facts.round
    dice = Streams(federation.streams.integer(Draw.ATTACK_UPDATE, round_))
    ids = [*hostile, *(i for i in cohort.present if i not in hostile)]
    announced = federation.pipeline.announce(state)
    attested = hostile if federation.threat.attested else ()
    plan, received = federation.plan, facts.received
    assert received is not None
    homes = [home_of(plan, i, told.get(i, received), round_, announced) for i in attested]

    def aggregate(rows: Tensor) -> Tensor:
        own = [protected_row(plan, row, home, dice) for row, home in zip(rows, homes, strict=False)]
        rows = torch.stack([*own, *rows[len(own) :]]) if own else rows
        who = ids if len(rows) == len(ids) else list(range(len(rows)))
        order = sorted(range(len(rows)), key=who.__getitem__)
        alike = torch.ones(len(rows), dtype=torch.float64)
        clients = tuple(who[i] for i in order)
        guess = Individual(clients, Rows(rows[order]), alike, {"loss": alike})
        channel = Channel(round_, dice.at(Draw.CHANNEL, round_), clients)
        delivery = federation.pipeline.transport.deliver(guess, channel).delivery
        if delivery is None:
            return torch.full_like(rows[0], math.nan)
        _, outcome = federation.pipeline.receive(state, delivery, round_, dice, desk)
        made = outcome.aggregate
        return torch.full_like(rows[0], math.nan) if made is None else made.delta

    return aggregate


def train(
    federation: Federation,
    state: State,
    cohort: Cohort,
    hostile: tuple[int, ...],
    facts: Facts,
    told: Mapping[int, Tensor],
) -> tuple[State, list[Reply], Notes]:
    """Let the attack train in the place of hostile hospitals, in order of client id.

    They share one mind and know of each other, unless the threat model lets each see only itself.
    """
    attack = federation.attack
    if not isinstance(attack, TrainAttack):
        return state, [], {}
    replies: list[Reply] = []
    measured: Notes = {}
    for client in hostile:
        started = time.perf_counter()
        who, known = (client, (client,)) if federation.apart else (-1, hostile)
        shop = workshop(federation, client, cohort, known, _received(facts, told, client))
        rng = federation.streams.at(Draw.ATTACK_TRAIN, facts.round, client)
        with one_thread():
            mind, row, notes = attack.train(part_of(state, who), shop, rng)
        state = with_part(state, who, mind)
        _check_row(attack, tuple(row.shape), (federation.plan.layout.dim,))
        measured |= {f"{name}/{client}": float(value) for name, value in notes.items()}
        side = {"loss": float(notes["loss"]) if "loss" in notes else _plausible(shop)}
        weight = federation.plan.weights[client]
        seconds = time.perf_counter() - started
        replies.append(Reply(client, row, weight, side, seconds, measured=side))
    return state, replies, measured


def workshop(
    federation: Federation, client: int, cohort: Cohort, known: tuple[int, ...], facts: Facts
) -> Workshop:
    """Return what one hostile hospital has at home in this round."""
    plan, work = federation.plan, cohort.work[client]
    received = facts.received
    assert received is not None
    clean = _copy(plan.shards[client, "clean"])
    poisoned = plan.shards.get((client, "poisoned"))
    module = copy.deepcopy(plan.module).train()
    plan.layout.load(module, received)

    def honest(shard: Shard) -> tuple[Tensor, Mapping[str, float]]:
        batches = federation.streams.at(Draw.BATCH, facts.round, client)
        fresh = copy.deepcopy(plan.module)
        return plan.trainer.train(fresh, plan.layout, received, shard, plan.task, batches, work)

    return Workshop(
        facts=replace(facts, received=received.clone()),
        client=client,
        colluders=known,
        own=next(h for h in federation.hospitals if h.id == client).train,
        data=federation.facts,
        clean=clean,
        poisoned=clean if poisoned is None else _copy(poisoned),
        prepare=federation.prepare,
        module=module,
        layout=plan.layout,
        task=plan.task,
        recipe=plan.trainer.recipe(len(clean), work),
        honest=honest,
    )


def _plausible(shop: Workshop) -> float:
    """What a hospital that measured no training loss reports: the received model's on its data."""
    module = copy.deepcopy(shop.module).eval()
    shop.layout.load(module, shop.received)
    with torch.no_grad():
        loss = shop.task.loss(module(shop.clean.inputs), shop.clean.targets)
    return float(loss.mean())


def _copy(shard: Shard) -> Shard:
    """What is in a workshop may be changed without changing anybody's data."""
    return Shard(shard.inputs.clone(), shard.targets.clone())


def craft(
    federation: Federation,
    state: State,
    replies: list[Reply],
    hostile: tuple[int, ...],
    facts: Facts,
    told: Mapping[int, Tensor],
) -> tuple[State, list[Reply], Notes]:
    """Let the attack replace the rows of hostile hospitals, with the view it was granted."""
    attack = federation.attack
    if not isinstance(attack, UpdateAttack) or not hostile:
        return state, replies, {}
    bad = individual([reply for reply in replies if reply.client in hostile])
    good = [reply for reply in replies if reply.client not in hostile]
    honest = _readable(individual(good).rows) if good else bad.rows.dense()[:0]
    made: dict[int, Tensor] = {}
    measured: Notes = {}
    if not len(honest) and attack.sees is Sees.OMNISCIENT:
        return state, replies, {}  # nothing honest to look at in this round
    known = {client: _received(facts, told, client) for client in bad.clients}
    for view in _views(federation.threat.sees, known, bad.rows.dense(), honest):
        who = view.clients[0] if isinstance(view, Own) else -1
        rng = federation.streams.at(Draw.ATTACK_UPDATE, facts.round, who)
        with one_thread():
            mind, rows, notes = attack.craft(part_of(state, who), view, rng)
        _check_row(attack, tuple(rows.shape), (len(view.clients), int(view.rows.shape[1])))
        state = with_part(state, who, mind)
        made |= dict(zip(view.clients, rows, strict=True))
        suffix = f"/{who}" if who >= 0 else ""
        measured |= {f"{name}{suffix}": value for name, value in notes.items()}
    merged = [
        replace(reply, row=made[reply.client]) if reply.client in made else reply
        for reply in replies
    ]
    return state, merged, measured


def report(federation: Federation, replies: list[Reply], hostile: tuple[int, ...]) -> list[Reply]:
    """Let hostile hospitals report what honest ones report on average, if they lie about it.

    Reports that are no number are left out: nobody imitates a NaN.
    """
    honest = [reply for reply in replies if reply.client not in hostile]
    if federation.threat.telemetry == "own" or not honest:
        return replies

    names = set.intersection(*(set(other.side) for other in honest))
    values = {name: [o.side[name] for o in honest if math.isfinite(o.side[name])] for name in names}
    side = {name: sum(known) / len(known) for name, known in values.items() if known}

    def told(reply: Reply) -> Reply:
        return replace(reply, side={**reply.side, **side})

    return [told(reply) if reply.client in hostile else reply for reply in replies]


def _readable(rows: Rows) -> Tensor:
    """Return the rows that the server's front door would not drop: nobody imitates a NaN."""
    usable = robust_math.usable_rows(rows)
    return rows.dense() if bool(usable.all()) else rows.dense()[usable]


def _check_row(attack: object, got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if got != wanted:
        raise ConfigError(
            "the attack crafted rows of the wrong shape",
            place=f"attack {type(attack).__name__}",
            got=got,
            fix=f"it must return {wanted}",
        )


def _received(facts: Facts, told: Mapping[int, Tensor], client: int) -> Facts:
    """Return the facts of a hospital, which may have been sent another model."""
    return replace(facts, received=told[client].clone()) if client in told else facts


def _views(
    sees: Sees, known: Mapping[int, Facts], rows: Tensor, honest: Tensor
) -> list[ClientView]:
    clients = tuple(known)
    facts = known[clients[0]]  # those who share what they know go by the first one's model
    if sees is Sees.OMNISCIENT and len(honest):
        return [Omniscient(facts, clients, rows, honest)]
    if sees is Sees.OWN:
        return [Own(known[c], (c,), rows[i : i + 1]) for i, c in enumerate(clients)]
    return [Colluders(facts, clients, rows)]
