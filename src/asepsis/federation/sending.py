"""From the broadcast to what hospitals send: training, attacks, protection at home."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from asepsis.core.channel import Apart, Carried, Channel, Tap, fingerprint
from asepsis.core.contracts import UpdateAttack
from asepsis.core.desk import Desk
from asepsis.core.engine import Engine, Job
from asepsis.core.rng import Draw
from asepsis.core.stages import Gathers
from asepsis.core.threat import Facts
from asepsis.core.updates import Reply, State, Summed, individual
from asepsis.defenses.reports import StageReport
from asepsis.federation import hostile as hospitals
from asepsis.federation.federation import Cohort, Federation, RoundState, with_part
from asepsis.federation.protecting import protect, reports_of
from asepsis.federation.remote import (
    Remote,
    lost_by,
    too_few,
    waiting,
    with_minds,
    without_minds,
)


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What hospitals send in a round, and how it came about.

    ``homes`` is what all hospitals keep for themselves; those ``afresh`` threw it away.
    ``measured`` is what each measured while it trained, whatever it says of it in ``replies``.
    ``hostile`` are those that answered. ``lost`` did not answer as asked; ``void`` says why too few
    are left. ``apart``: updates wait at hospitals, and rows are empty.
    """

    homes: State
    afresh: tuple[int, ...]
    measured: Mapping[int, Mapping[str, float]]
    minds: State
    replies: list[Reply]
    hostile: tuple[int, ...]
    crafted: dict[str, float]
    protected: tuple[StageReport, ...]
    seconds: dict[str, float]
    lost: Mapping[int, str] = field(default_factory=dict)
    void: str | None = None
    apart: Apart | None = None


def updates(
    federation: Federation,
    engine: Engine,
    state: RoundState,
    cohort: Cohort,
    facts: Facts,
    desk: Desk,
    told: Mapping[int, Tensor],
) -> Sent:
    """Let every present hospital train, attack and protect its update, in that order."""
    started = time.perf_counter()
    hostile = federation.hostile(cohort, facts.round)
    if federation.threat.knows_defense:
        rule = hospitals.stack_in_use(
            federation, state.pipeline, cohort, hostile, facts, desk, told
        )
        facts = replace(facts, rule=rule)
    announced = federation.pipeline.announce(state.pipeline)
    if isinstance(engine, Remote) and engine.apart is not None:
        return _apart(federation, engine, engine.apart, state, cohort, hostile, announced, told)
    exempt = unbound(federation, hostile)
    jobs = federation.jobs(cohort, hostile, facts.round, state.homes)
    jobs = [job if job.client in exempt else replace(job, told=announced) for job in jobs]
    replies, lost = trained(engine, state.row, told, jobs)
    void = too_few(engine, len(replies), len(jobs))
    hostile = tuple(client for client in hostile if client not in lost)
    homes = kept(state.homes, replies)
    afresh = tuple(reply.client for reply in replies if reply.afresh)
    training = time.perf_counter() - started

    minds, own, notes = hospitals.train(federation, state.attack, cohort, hostile, facts, told)

    def bound(reply: Reply) -> Reply:
        received = told.get(reply.client, state.row)
        plan, streams = federation.plan, federation.streams
        return protect(plan, streams, reply, received, facts.round, announced)

    own = [reply if reply.client in exempt else bound(reply) for reply in own]
    replies = sorted([*replies, *own], key=lambda reply: reply.client)
    measured = measured_by(replies)
    reports = reports_of(federation, replies)
    minds, replies, crafted = hospitals.craft(federation, minds, replies, hostile, facts, told)
    if exempt:
        after = [bound(reply) if reply.client in exempt else reply for reply in replies]
        replies = after if federation.threat.attested else saying(replies, after)
    replies = hospitals.report(federation, replies, hostile)
    seconds = {"training": training, "attack": time.perf_counter() - started - training}
    crafted = notes | crafted
    return Sent(
        homes, afresh, measured, minds, replies, hostile, crafted, reports, seconds, lost, void
    )


def _apart(
    federation: Federation,
    engine: Engine,
    apart: Apart,
    state: RoundState,
    cohort: Cohort,
    hostile: tuple[int, ...],
    announced: Mapping[str, float],
    told: Mapping[int, Tensor],
) -> Sent:
    """Let hospitals do all of it in processes of their own, where their updates then wait."""
    started = time.perf_counter()
    jobs = federation.jobs(cohort, hostile, state.round, state.homes, apart=True)
    jobs = [replace(job, told=announced) for job in jobs]
    jobs = with_minds(jobs, state.attack, hostile)
    replies, lost = trained(engine, state.row, told, jobs)
    there = tuple(client for client in hostile if client not in lost)
    replies, minds = without_minds(replies, state.attack, there)
    return Sent(
        homes=kept(state.homes, replies),
        afresh=tuple(reply.client for reply in replies if reply.afresh),
        measured=measured_by(replies),
        minds=minds,
        replies=replies,
        hostile=there,
        crafted={name: value for reply in replies for name, value in reply.notes.items()},
        protected=reports_of(federation, replies),
        seconds={"training": time.perf_counter() - started},
        lost=lost,
        void=too_few(engine, len(replies), len(jobs)),
        apart=apart,
    )


def measured_by(replies: list[Reply]) -> dict[int, Mapping[str, float]]:
    """Return what hospitals measured while they trained, of those who say so."""
    return {reply.client: reply.measured for reply in replies if reply.measured}


def kept(homes: State, replies: list[Reply]) -> State:
    """Return what all hospitals keep, after those who trained have answered."""
    for reply in replies:
        homes = with_part(homes, reply.client, reply.home)
    return homes


def saying(replies: list[Reply], protected: list[Reply]) -> list[Reply]:
    """Return the replies as they are, with what their rows would have hospitals report.

    Who skips the protection still answers what the protocol asks: silence would give it away, and
    stop a sum of telemetry for everybody.
    """
    pairs = zip(replies, protected, strict=True)
    return [replace(reply, side={**reply.side, **other.side}) for reply, other in pairs]


def unbound(federation: Federation, hostile: tuple[int, ...]) -> tuple[int, ...]:
    """Return who of the hostile hospitals trains without what hospitals do to their updates.

    Those that are attested do it; those that craft an update do it to what they have crafted.
    """
    crafts = isinstance(federation.attack, UpdateAttack)
    return () if federation.threat.attested and not crafts else hostile


def trained(
    engine: Engine, row: Tensor, told: Mapping[int, Tensor], jobs: list[Job]
) -> tuple[list[Reply], dict[int, str]]:
    """Train every job from the row that its hospital received: one group for each such row.

    Returns:
        The replies, and who did not answer as asked, with the reason.
    """
    rest = [job for job in jobs if job.client not in told]
    replies = engine.train(row, rest) if rest else []
    lost = lost_by(engine) if rest else {}
    for job in jobs:
        if job.client in told:
            replies += engine.train(told[job.client], [job])
            lost |= lost_by(engine)
    return sorted(replies, key=lambda reply: reply.client), lost


def carried(
    federation: Federation,
    replies: list[Reply],
    cohort: Cohort,
    row: Tensor,
    told: Mapping[int, Tensor],
    round_: int,
    tap: Tap | None = None,
    apart: Apart | None = None,
) -> Carried:
    """Let the channel carry what hospitals send, past whoever sits on the wire.

    Where hospitals are ``apart``, their rows come from there.
    """
    if not replies and getattr(federation.pipeline.rule, "answers_nobody", False):
        # Nobody was drawn: a mechanism that did nothing now would tell everybody so.
        return Carried(Summed(0, torch.zeros_like(row), 1.0))
    if not replies:
        return Carried(None, aborted="no hospital answered")
    usual = fingerprint(row)
    channel = Channel(
        round=round_,
        rng=federation.streams.at(Draw.CHANNEL, round_),
        drawn=cohort.drawn,
        received={i: fingerprint(told[i]) if i in told else usual for i in cohort.drawn},
        experiment=federation.name,
        tap=tap,
        apart=apart,
    )
    transport = federation.pipeline.transport
    if apart is not None:
        assert isinstance(transport, Gathers)
        return transport.deliver(waiting(federation, replies), channel)
    return transport.deliver(individual(replies), channel)
