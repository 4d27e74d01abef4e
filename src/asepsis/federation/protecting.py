"""What hospitals do to their updates before these leave: clip, noise, prune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from asepsis.core.desk import Desk
from asepsis.core.rng import Draw, Streams
from asepsis.core.stages import Home
from asepsis.core.threads import one_thread
from asepsis.core.updates import Reply
from asepsis.defenses.reports import StageReport

if TYPE_CHECKING:
    from asepsis.federation.federation import Federation


def protected(
    federation: Federation,
    replies: list[Reply],
    exempt: tuple[int, ...],
    round_: int,
    desk: Desk,
    announced: Mapping[str, float],
    told: Mapping[int, Tensor] | None = None,
) -> tuple[list[Reply], tuple[StageReport, ...]]:
    """Pass every update but those of ``exempt`` hospitals through the stack's client stages.

    ``announced`` came with the model; ``told`` is what was sent to hospitals that got another one.

    Returns:
        The replies, and what each stage did: ``changed`` is the mean over hospitals of how far
        it moved a row, relative to the row.
    """
    reports = []
    for place, (name, stage) in enumerate(federation.pipeline.at_hospitals):
        moved: list[float] = []
        measured: list[Mapping[str, float]] = []
        done = []
        for reply in replies:
            if reply.client in exempt:
                done.append(reply)
                continue
            home = home_of(federation, reply.client, round_, desk, announced, told or {})
            rng = federation.streams.at(Draw.CLIENT, round_, reply.client, place)
            with one_thread():
                row, side = stage.protect(reply.row.clone(), home, rng)
            moved.append(_moved(reply.row, row))
            measured.append(side)
            kept = {} if getattr(stage, "silent", False) else reply.side
            done.append(replace(reply, row=row, side={**kept, **side}))
        replies = done
        names = dict.fromkeys(key for side in measured for key in side)
        means = {key: sum(side.get(key, 0.0) for side in measured) / len(measured) for key in names}
        changed = sum(moved) / len(moved) if moved else 0.0
        reports.append(StageReport(name, "client", changed, means))
    return replies, tuple(reports)


def home_of(
    federation: Federation,
    client: int,
    round_: int,
    desk: Desk,
    announced: Mapping[str, float],
    told: Mapping[int, Tensor],
) -> Home:
    """Return what a hospital has when it protects its own update."""
    assert desk.network is not None
    assert desk.layout is not None
    assert desk.received is not None
    return Home(
        round=round_,
        client=client,
        received=told.get(client, desk.received),
        layout=desk.layout,
        network=desk.network,
        shard=federation.plan.shards[client, "clean"],
        told=announced,
    )


def protected_row(federation: Federation, row: Tensor, home: Home, dice: Streams) -> Tensor:
    """Pass one row ``[d]`` through the client stages, with these random numbers."""
    for place, (_, stage) in enumerate(federation.pipeline.at_hospitals):
        rng = dice.at(Draw.CLIENT, home.round, home.client, place)
        row, _ = stage.protect(row.clone(), home, rng)
    return row


def _moved(before: Tensor, after: Tensor) -> float:
    size = float(before.double().norm())
    distance = float((after.double() - before.double()).norm())
    return distance / size if size > 0 else float(distance > 0)
