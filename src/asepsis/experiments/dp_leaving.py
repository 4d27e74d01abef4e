"""Everything that leaves a mechanism, twice: does it change with the data, and with the noise?

What changes with the data and not with the noise is unprotected, whatever an accountant says. What
changes with both is measured: how far one unit moves it, and how wide the noise is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asepsis.core.layout import Layout
from asepsis.core.privacy import PrivacyClaim
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Shard
from asepsis.core.threads import one_thread
from asepsis.core.updates import Reply, Summed
from asepsis.defenses.release.noise import VARIANCE
from asepsis.federation.desk import desk_in
from asepsis.federation.federation import Cohort, Federation, RoundState
from asepsis.federation.protecting import protected
from asepsis.federation.round import received
from asepsis.federation.sending import carried

STREAMS = 48
"""So many streams of noise measure its width."""
OPPOSITE, REMOVED = 2.0, 1.0
"""How many times one unit's part two canaries may move what leaves: opposite ones, twice."""
TOLERANCE = 0.85
"""Less than this share of the claimed noise multiplier is a failure: 48 streams err by less."""
EXACT = 1e-6
HUGE, FAR = 1e6, 1e3
LOUD = 5.0
"""Inputs of canaries, in prepared units: extreme, so that a forgotten clip is felt."""

Leaves = dict[str, Tensor]
Play = Callable[[int, bool, int], Leaves]
"""What leaves, given a pair of canaries, which of the two is there, and a stream of noise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One part of what leaves that is not protected as claimed."""

    part: str
    problem: str


@dataclass(frozen=True, slots=True)
class Structure:
    """What the differential test found.

    ``multiplier`` is the width of the noise over what the worst canary moved, all parts together:
    the true noise multiplier is no larger.
    """

    multiplier: float
    parts: tuple[str, ...]
    findings: tuple[Finding, ...]


def examine(play: Play, claim: PrivacyClaim, pairs: tuple[float, ...]) -> Structure:
    """Compare what leaves with two canaries under one stream, and with one under many.

    ``pairs`` says of every pair of canaries how many times one unit's part they differ by.
    """
    noisy = [play(0, True, stream) for stream in range(STREAMS)]
    width = {
        part: torch.stack([leaves[part] for leaves in noisy]).double().std(dim=0)
        for part in noisy[0]
    }
    findings: dict[str, Finding] = {}
    worst = 0.0
    for pair, times in enumerate(pairs):
        one, other = play(pair, True, 0), play(pair, False, 0)
        moved = {part: (one[part].double() - other[part].double()).abs() / times for part in one}
        for part, by in moved.items():
            bare = by > 0
            bare &= width[part] <= EXACT * by
            if bool(bare.any()):
                findings[part] = Finding(part, _bare(bare))
        worst = max(worst, _distance(moved, width))
    multiplier = 1 / worst if worst > 0 else math.inf
    if multiplier < TOLERANCE * claim.noise_multiplier:
        text = f"its noise multiplier is {multiplier:.3g}, not {claim.noise_multiplier:.3g}"
        findings["everything"] = Finding("all parts together", text)
    return Structure(multiplier, tuple(width), tuple(findings.values()))


def _bare(bare: Tensor) -> str:
    return f"{int(bare.sum())} of {bare.numel()} values change with the data and have no noise"


def _distance(moved: Mapping[str, Tensor], width: Mapping[str, Tensor]) -> float:
    """Return how many standard deviations a canary moves all parts together."""
    total = 0.0
    for part, by in moved.items():
        noise = float(width[part].square().mean())
        if float(by.norm()) > 0:
            total += float(by.square().sum()) / noise if noise > 0 else math.inf
    return math.sqrt(total)


def named(row: Tensor, layout: Layout) -> Leaves:
    """Cut a row into the network's tensors."""
    kinds = {True: "parameter", False: "buffer"}
    return {f"{kinds[slot.parameter]} {slot.name}": row[slot.where] for slot in layout.slots}


def record_play(federation: Federation, hospital: int, seed: int = 0) -> Play:
    """Return what leaves one hospital after one step on all of its records.

    All records in one step leave the noise as the only chance, so that what varies with the
    stream varies by noise.
    """
    plan = federation.plan
    shard = plan.shards[hospital, "clean"]
    trainer = alone(plan.trainer, len(shard))
    start = federation.begin().row

    def play(pair: int, plus: bool, stream: int) -> Leaves:
        rng = np.random.Generator(np.random.Philox(key=[stream, seed]))
        data = with_canary(shard, pair, plus, federation, seed)
        with one_thread():
            row, side = trainer.train(
                copy.deepcopy(plan.module), plan.layout, start, data, plan.task, rng, 1.0
            )
        reply = Reply(hospital, row, plan.weights[hospital], side)
        # Client stages may look at the hospital's records, so they must find the canary there.
        shards = {**plan.shards, (hospital, "clean"): data}
        seen = replace(
            federation,
            plan=replace(plan, shards=shards),
            streams=Streams(1_000_000 + _mixed(stream, seed)),
        )
        return sent_by(seen, reply)

    return play


def alone(trainer: Any, samples: int) -> Any:
    """Return a trainer that takes one step on everything, as far as it has such options."""
    known = {item.name for item in fields(trainer)} if is_dataclass(trainer) else set()
    wanted = {"batch_size": samples, "steps": 1}
    made: Any = replace(trainer, **{k: v for k, v in wanted.items() if k in known})
    return made


def with_canary(
    shard: Shard, pair: int, plus: bool, federation: Federation, seed: int = 0
) -> Shard:
    """Return a hospital's records with the first replaced by one of two opposite canaries."""
    rng = np.random.Generator(np.random.Philox(key=[7_000 + pair, seed]))
    loud = torch.from_numpy(rng.normal(size=shard.inputs.shape[1:])).to(shard.inputs) * LOUD
    inputs, targets = shard.inputs.clone(), shard.targets.clone()
    inputs[0] = loud
    if not plus:
        targets[0] = opposite(targets[:1], len(federation.facts.classes))[0]
    return Shard(inputs, targets)


def opposite(targets: Tensor, classes: int) -> Tensor:
    """Return targets that pull the other way: the next class, other findings, a negative image.

    Example:
        >>> opposite(torch.tensor([2]), 3).tolist()
        [0]
        >>> opposite(torch.tensor([[1.0, 0.0]]), 2).tolist()
        [[0.0, 1.0]]
    """
    if targets.dtype == torch.long:
        return (targets + 1) % classes
    return 1 - targets if bool(((targets >= 0) & (targets <= 1)).all()) else -targets


def sent_by(federation: Federation, reply: Reply) -> Leaves:
    """Return everything that one hospital sends, after what it does to its update."""
    state = federation.begin()
    told = federation.pipeline.announce(state.pipeline)
    (sent,) = protected(federation, [reply], state.row, 0, told)
    figures = {f"telemetry {name}": value for name, value in sent.side.items()}
    figures["claimed count"] = sent.weight
    return named(sent.row, federation.plan.layout) | {
        name: torch.tensor([value], dtype=torch.float64) for name, value in figures.items()
    }


def hospital_pairs(claim: PrivacyClaim) -> tuple[float, ...]:
    """Return what :func:`hospital_play` tries, in units of one hospital's part."""
    if claim.neighbors.startswith("replace"):
        return (1.0, 1.0)
    return (OPPOSITE, REMOVED, OPPOSITE, REMOVED)


def hospital_play(
    federation: Federation, base: list[Reply], claim: PrivacyClaim, seed: int = 0
) -> Play:
    """Return what leaves a round in which one hospital sends one of two canaries.

    Everybody takes part. Two canaries are opposite updates (and telemetry), or one is missing. For
    central trust the new model leaves, and what is announced with it; for local trust what the
    hospital sends; for distributed trust what the channel delivers.
    """
    everybody = replace(
        federation.schedule, participation=1.0, sampling="fixed", dropout=0.0, stragglers=0.0
    )
    calm = replace(federation, schedule=everybody)
    pairs = hospital_pairs(claim)

    def play(pair: int, plus: bool, stream: int) -> Leaves:
        seen = replace(calm, streams=Streams(_mixed(stream, seed)))
        sign = 1.0 if plus else -1.0
        way = direction(len(base[0].row), 9_000 + pair, seed).to(base[0].row)
        side = {name: value + sign for name, value in base[0].side.items()}
        first = [replace(base[0], row=sign * HUGE * way, side=side)]
        if claim.trust == "local":
            return sent_by(seen, first[0])
        there = plus or pairs[pair] != REMOVED or claim.neighbors.startswith("replace")
        return published(seen, [*(first if there else []), *base[1:]], claim)

    return play


def published(federation: Federation, replies: list[Reply], claim: PrivacyClaim) -> Leaves:
    """Return what a round of these updates publishes, or delivers to a server not trusted."""
    state, layout = lifted(federation.begin(), federation.plan.layout), federation.plan.layout
    desk = desk_in(federation, 0, state.row)
    told = federation.pipeline.announce(state.pipeline)
    sent = protected(federation, replies, state.row, 0, told)
    ids = tuple(reply.client for reply in replies)
    cohort = Cohort(ids, ids, dict.fromkeys(ids, 1.0))
    came = carried(federation, sent, cohort, state.row, {}, 0)
    if claim.trust == "distributed" and isinstance(came.delivery, Summed):
        delivered = {f"telemetry {k}": v for k, v in came.delivery.side.items()}
        delivered["claimed counts"] = came.delivery.weight
        return named(came.delivery.total, layout) | _figures(delivered)
    after, _, _ = received(federation, state, came.delivery, desk, 0)
    # By their logarithm: a bound follows its count by factors.
    announced = {
        f"announced {name}": math.log(value) if value > 0 else value
        for name, value in federation.pipeline.announce(after.pipeline).items()
    }
    return named(after.row - state.row, layout) | _figures(announced)


def lifted(state: RoundState, layout: Layout) -> RoundState:
    """Start with running variances far above 0: their floor there would look like less noise."""
    row = state.row.clone()
    for slot in layout.slots:
        if slot.name.rpartition(".")[2] == VARIANCE:
            row[slot.where] = FAR
    return replace(state, row=row)


def _figures(figures: Mapping[str, float]) -> Leaves:
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in figures.items()}


def direction(size: int, key: int, seed: int = 0) -> Tensor:
    """Return a random direction of length 1."""
    drawn = torch.from_numpy(
        np.random.Generator(np.random.Philox(key=[key, seed])).normal(size=size)
    )
    made: Tensor = drawn / drawn.norm()
    return made


def _mixed(stream: int, seed: int) -> int:
    """Return a stream's number under a seed: no two seeds share one."""
    return stream + STREAMS * seed


def honest(federation: Federation) -> list[Reply]:
    """Let every hospital train once from the first model, by the protocol."""
    plan, start = federation.plan, federation.begin().row
    replies = []
    for hospital in sorted(plan.weights):
        rng = federation.streams.at(Draw.BATCH, 0, hospital)
        with one_thread():
            row, side = plan.trainer.train(
                copy.deepcopy(plan.module),
                plan.layout,
                start,
                plan.shards[hospital, "clean"],
                plan.task,
                rng,
                1.0,
            )
        replies.append(Reply(hospital, row, plan.weights[hospital], side))
    return replies
