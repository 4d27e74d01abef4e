"""The only loop: one round of a federation, from the broadcast to the next global model."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from asepsis.core.channel import Carried
from asepsis.core.desk import Desk
from asepsis.core.engine import Engine
from asepsis.core.stages import RoundEvent
from asepsis.core.updates import Delivery, Individual, State, individual
from asepsis.defenses.reports import Outcome, StageReport
from asepsis.federation.desk import desk_in
from asepsis.federation.federation import Cohort, Federation, RoundState
from asepsis.federation.intercepting import channel_report, tapped
from asepsis.federation.observing import Seen, observed, tampered
from asepsis.federation.remote import lost_by
from asepsis.federation.sending import Sent, carried, updates

LOSS, CRITIC = "loss", "critic_loss"


@dataclass(frozen=True, slots=True, eq=False)
class RoundOutcome:
    """What happened in a round, for the record and for metrics.

    ``sent`` are the rows as they left the hospitals, ``received`` the row they trained from,
    ``channel`` what the channel counted. ``train_loss`` is what hospitals measured while they
    trained, ``critic_loss`` too of those that train a generator; ``told_loss`` is what those say
    it was who say something else, NaN of who is silent. ``afresh`` are hospitals that threw away
    what they keep, because it was no number. ``intercepted`` says what somebody on the wire did to
    whose message, ``None`` in rounds without. ``lost`` says who did not answer as asked, and why.
    """

    round: int
    cohort: Cohort
    hostile: tuple[int, ...]
    train_loss: dict[int, float]
    crafted: dict[str, float]
    server: Outcome | None
    void: str | None
    seconds: dict[str, float]
    seen: tuple[Seen, ...] = ()
    sent: Individual | None = None
    received: Tensor | None = None
    channel: Mapping[str, float] | None = None
    protected: tuple[StageReport, ...] = ()
    audited: tuple[bytes, ...] = ()
    critic_loss: dict[int, float] = field(default_factory=dict)
    told_loss: dict[int, float] = field(default_factory=dict)
    afresh: tuple[int, ...] = ()
    intercepted: Mapping[int, str] | None = None
    lost: Mapping[int, str] = field(default_factory=dict)


def play_round(
    federation: Federation, engine: Engine, state: RoundState
) -> tuple[RoundState, RoundOutcome]:
    """Play round ``state.round`` and return the next state and what happened."""
    clock = _Clock()
    t, row = state.round, state.row
    cohort = federation.cohort(t)
    facts = federation.facts_of(t, cohort, row)
    desk = desk_in(federation, t, row)

    watch, told = tampered(federation, state.watch, cohort, facts, row)
    made = updates(federation, engine, state, cohort, facts, desk, told)
    clock.lap("hospitals")
    tap = tapped(federation, made.minds, facts, row)
    came = Carried(None, aborted=made.void)
    if made.void is None:
        came = carried(federation, made.replies, cohort, row, told, t, tap, made.apart)
    seen: tuple[Seen, ...] = ()
    if came.delivery is not None and made.replies:
        sent = individual(made.replies)
        watch, seen = observed(federation, watch, came, sent, facts, row, told)
        clock.lap("observers")

    after = replace(
        state, round=t + 1, attack=tap.minds if tap else made.minds, watch=watch, homes=made.homes
    )
    after, outcome, void = received(federation, after, came.delivery, desk, t)
    if told and void is None:  # what comes back is of models that nobody else has
        after = replace(after, row=row, server=state.server, pipeline=state.pipeline)
        void = "the server tampered with the model, and throws the round away"
    void = came.aborted or void
    clock.lap("server")

    after = averaged(after, federation.schedule.ema)
    audit, lines = audited(federation, state, after, came.delivery, outcome, void)
    after = replace(after, audit=audit)
    if federation.pipeline.audit is not None:
        clock.lap("audit")
    return after, RoundOutcome(
        round=t,
        cohort=cohort,
        hostile=made.hostile,
        train_loss={client: value_in(side, LOSS) for client, side in made.measured.items()},
        crafted={**made.crafted, **(tap.notes if tap else {})},
        server=outcome,
        void=void,
        seconds={**made.seconds, **clock.without("hospitals")},
        seen=seen,
        sent=individual(made.replies) if made.replies and made.apart is None else None,
        received=row,
        channel=came.measurements,
        protected=(*made.protected, *channel_report(federation, came)),
        audited=lines,
        critic_loss=critic_losses(made),
        told_loss=told_otherwise(made),
        afresh=made.afresh,
        intercepted=tap.touched if tap else None,
        lost={**made.lost, **(lost_by(engine) if made.apart and made.replies else {})},
    )


def value_in(side: Mapping[str, float], name: str) -> float:
    """Return one value of a hospital's telemetry, NaN where there is none."""
    return float(side.get(name, math.nan))


def critic_losses(made: Sent) -> dict[int, float]:
    """Return the critic's loss of hospitals that train one."""
    sides = made.measured.items()
    return {client: value_in(side, CRITIC) for client, side in sides if CRITIC in side}


def told_otherwise(made: Sent) -> dict[int, float]:
    """Return the loss that hospitals say they had, of those that had another one.

    Of hospitals that are apart nobody hears what each says, only that it says something.
    """
    pairs = {
        reply.client: (value_in(reply.side, LOSS), value_in(made.measured[reply.client], LOSS))
        for reply in made.replies
        if reply.client in made.measured and (made.apart is None or LOSS not in reply.side)
    }
    return {client: told for client, (told, own) in pairs.items() if not same(told, own)}


def same(one: float, other: float) -> bool:
    """Whether two values are equal, or both no number."""
    return one == other or (math.isnan(one) and math.isnan(other))


def averaged(state: RoundState, ema: float) -> RoundState:
    """Move the average of the global models, where there is one, towards the new one."""
    if state.average is None:
        return state
    decay = min(ema, state.round / (9 + state.round))  # or it would remember the untrained model
    return replace(state, average=torch.lerp(state.row, state.average, decay))


def received(
    federation: Federation, state: RoundState, delivery: Delivery | None, desk: Desk, round_: int
) -> tuple[RoundState, Outcome | None, str | None]:
    """Take a delivery through the defenses and step; a void round leaves the model alone."""
    if delivery is None:
        return state, None, None
    pipeline, outcome = federation.pipeline.receive(
        state.pipeline, delivery, round_, federation.streams, desk
    )
    if outcome.aggregate is None:
        return replace(state, pipeline=pipeline), outcome, outcome.void
    parameters = federation.plan.layout.parameters
    server, row = federation.server.apply(
        state.server, state.row, outcome.aggregate.delta, parameters
    )
    if not bool(torch.isfinite(row).all()):
        return state, outcome, "overflow"
    return replace(state, pipeline=pipeline, server=server, row=row), outcome, outcome.void


def audited(
    federation: Federation,
    before: RoundState,
    after: RoundState,
    delivery: Delivery | None,
    outcome: Outcome | None,
    void: str | None,
) -> tuple[State, tuple[bytes, ...]]:
    """Let the audit, if there is one, write the round down."""
    audit = federation.pipeline.audit
    if audit is None:
        return before.audit, ()
    applied = outcome.aggregate if outcome and void is None else None
    event = RoundEvent(
        experiment=federation.name,
        round=before.round,
        sent=before.row,
        delivery=delivery,
        aggregate=None if applied is None else applied.delta,
        model=after.row,
        void=void,
        dropped=outcome.dropped if outcome else (),
        stages=outcome.record() if outcome else (),
    )
    return audit.record(before.audit, event)


class _Clock:
    """Wall-clock time of each part of a round."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now

    def without(self, name: str) -> dict[str, float]:
        return {key: value for key, value in self.laps.items() if key != name}
