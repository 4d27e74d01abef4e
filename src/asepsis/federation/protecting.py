"""What hospitals do to their updates before these leave: clip, noise, prune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from asepsis.core.engine import Plan
from asepsis.core.rng import Draw, Streams
from asepsis.core.stages import Home
from asepsis.core.threads import one_thread
from asepsis.core.updates import Reply, Step
from asepsis.defenses.reports import StageReport

if TYPE_CHECKING:
    from asepsis.federation.federation import Federation


def protect(
    plan: Plan,
    streams: Streams,
    reply: Reply,
    received: Tensor,
    round_: int,
    told: Mapping[str, float],
) -> Reply:
    """Pass one update through what hospitals do to theirs, with what the server ``told`` them."""
    home = home_of(plan, reply.client, received, round_, told)
    steps: list[Step] = []
    for place, stage in enumerate(plan.stages):
        rng = streams.at(Draw.CLIENT, round_, reply.client, place)
        with one_thread():
            row, said = stage.protect(reply.row.clone(), home, rng)
        steps.append(Step(_moved(reply.row, row), said))
        kept = {} if getattr(stage, "silent", False) else reply.side
        reply = replace(reply, row=row, side={**kept, **said})
    return replace(reply, steps=tuple(steps))


def protected(
    federation: Federation,
    replies: Sequence[Reply],
    received: Tensor,
    round_: int,
    told: Mapping[str, float],
) -> list[Reply]:
    """Pass updates of hospitals that all ``received`` one row through what they do to theirs."""
    plan, streams = federation.plan, federation.streams
    return [protect(plan, streams, reply, received, round_, told) for reply in replies]


def reports_of(federation: Federation, replies: Sequence[Reply]) -> tuple[StageReport, ...]:
    """Return what each client stage did in a round, over those who passed it.

    ``changed`` is the mean over hospitals of how far it moved a row, relative to the row.
    """
    passed = [reply.steps for reply in replies if reply.steps]
    reports = []
    for place, (name, _) in enumerate(federation.pipeline.at_hospitals):
        steps = [of[place] for of in passed]
        names = dict.fromkeys(key for step in steps for key in step.said)
        means = {key: sum(step.said.get(key, 0.0) for step in steps) / len(steps) for key in names}
        changed = sum(step.moved for step in steps) / len(steps) if steps else 0.0
        reports.append(StageReport(name, "client", changed, means))
    return tuple(reports)


def home_of(
    plan: Plan, client: int, received: Tensor, round_: int, told: Mapping[str, float]
) -> Home:
    """Return what a hospital has when it protects its own update."""
    assert plan.network is not None
    return Home(
        round=round_,
        client=client,
        received=received,
        layout=plan.layout,
        network=plan.network,
        shard=plan.shards[client, "clean"],
        told=told,
    )


def protected_row(plan: Plan, row: Tensor, home: Home, dice: Streams) -> Tensor:
    """Pass one row ``[d]`` through the client stages, with these random numbers."""
    for place, stage in enumerate(plan.stages):
        rng = dice.at(Draw.CLIENT, home.round, home.client, place)
        row, _ = stage.protect(row.clone(), home, rng)
    return row


def _moved(before: Tensor, after: Tensor) -> float:
    size = float(before.double().norm())
    distance = float((after.double() - before.double()).norm())
    return distance / size if size > 0 else float(distance > 0)
