"""Canaries inside a federation: hospitals or records that are there or not, and scores of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from asepsis.core.privacy import PrivacyClaim
from asepsis.core.rng import Streams
from asepsis.core.samples import Shard
from asepsis.core.updates import Reply
from asepsis.defenses.client.bound import BOUND
from asepsis.engines import make_engine
from asepsis.experiments.dp_leaving import HUGE, LOUD, direction, honest
from asepsis.federation.desk import desk_in
from asepsis.federation.federation import Cohort, Federation, RoundState
from asepsis.federation.private import facts_of, promising
from asepsis.federation.protecting import protected
from asepsis.federation.round import play_round, received
from asepsis.federation.sending import carried
from asepsis.metrics.dp_bounds import Bound, Scores, from_trials, one_run

KNOWN, RIDGE = 128, 0.1


def hospital_bound(
    federation: Federation, claim: PrivacyClaim, trials: int, confidence: float, seed: int
) -> Bound:
    """Bound epsilon by repeated trials of all rounds, with a canary hospital and without.

    One hospital sends a huge update in a random direction, or is missing (its opposite, where
    neighbors replace data); the others send what they would send in the first round. Whatever
    hospitals, channel and server do to updates is done as configured, and sampled as configured.
    The score is how far the published model (for local trust, what the canary sent) moved in that
    direction, over the bound that was announced.
    """
    base = honest(federation)
    scores: dict[bool, list[float]] = {True: [], False: []}
    for trial in range(trials):
        there = trial % 2 == 0
        streams = Streams(seed * 1_000_003 + trial)
        way = direction(len(base[0].row), 5_000_000 + trial)
        scores[there].append(_trial(replace(federation, streams=streams), claim, base, way, there))
    return from_trials(np.array(scores[True]), np.array(scores[False]), claim.delta, confidence)


def _trial(
    federation: Federation, claim: PrivacyClaim, base: list[Reply], way: Tensor, there: bool
) -> float:
    state, score = federation.begin(), 0.0
    way = way.to(base[0].row)
    for round_ in range(federation.schedule.rounds):
        cohort = _cohort(federation, round_, base[0].client, claim, there)
        sign = 1.0 if there else -1.0
        replies = [
            replace(reply, row=sign * HUGE * way) if reply.client == base[0].client else reply
            for reply in base
            if reply.client in cohort.present
        ]
        state, moved = _round(federation, state, replies, cohort, claim, way, base[0].client)
        score += moved
    return score


def _cohort(
    federation: Federation, round_: int, canary: int, claim: PrivacyClaim, there: bool
) -> Cohort:
    """Return who takes part; a canary that is missing was never drawn."""
    cohort = federation.cohort(round_)
    if there or claim.neighbors.startswith("replace"):
        return cohort
    drawn = tuple(i for i in cohort.drawn if i != canary)
    present = tuple(i for i in cohort.present if i != canary)
    return Cohort(drawn, present, {i: cohort.work[i] for i in present})


def _round(
    federation: Federation,
    state: RoundState,
    replies: list[Reply],
    cohort: Cohort,
    claim: PrivacyClaim,
    way: Tensor,
    canary: int,
) -> tuple[RoundState, float]:
    t = state.round
    desk = desk_in(federation, t, state.row)
    told = federation.pipeline.announce(state.pipeline)
    sent = protected(federation, replies, state.row, t, told)
    unit = told.get(BOUND, 1.0)
    came = carried(federation, sent, cohort, state.row, {}, t)
    after, _, _ = received(federation, replace(state, round=t + 1), came.delivery, desk, t)
    if claim.trust == "local":
        own = [reply.row for reply in sent if reply.client == canary]
        return after, sum(float(row.double() @ way.double()) for row in own) / unit
    return after, float((after.row - state.row).double() @ way.double()) / unit


def record_bound(
    federation: Federation, claim: PrivacyClaim, canaries: int, confidence: float, seed: int
) -> tuple[Bound, PrivacyClaim]:
    """Bound epsilon by one run whose canary records were included by fair coins.

    Canaries are loud random inputs with random targets, added to the records of the hospital with
    the largest claimed epsilon. The score of each is its own normalized gradient's part in what
    the hospital sent, summed over rounds: by ridge regression over all canaries and up to 128 of
    the other records, which differential privacy lets an adversary know. Returns the claim for the
    hospital as it then is, which has more records, too.
    """
    hospital = claim.hospital
    assert hospital is not None
    rng = np.random.Generator(np.random.Philox(key=seed + 77))
    own = federation.plan.shards[hospital, "clean"]
    made = records(own, canaries, rng)
    coins = rng.random(canaries) < 0.5
    there = torch.from_numpy(coins).to(own.inputs.device)
    shard = Shard(
        torch.cat([own.inputs, made.inputs[there]]), torch.cat([own.targets, made.targets[there]])
    )
    shards = {**federation.plan.shards, (hospital, "clean"): shard}
    planted = replace(
        federation, plan=replace(federation.plan, shards=shards), streams=Streams(seed)
    )
    known = Shard(own.inputs[:KNOWN], own.targets[:KNOWN])
    scores = _scores(planted, hospital, made, known)
    bound = one_run(scores, coins, claim.delta, confidence)
    return bound, _claim_of(planted, claim)


def _claim_of(federation: Federation, claim: PrivacyClaim) -> PrivacyClaim:
    facts = facts_of(federation)
    made = [part.privacy(facts) for part in promising(federation)]
    alike = [one for whole in made for one in whole.all() if one.mechanism == claim.mechanism]
    return next(one for one in alike if (one.hospital, one.unit) == (claim.hospital, claim.unit))


def records(own: Shard, count: int, rng: np.random.Generator) -> Shard:
    """Return loud random inputs with targets of records drawn from the hospital's own."""
    inputs = torch.from_numpy(rng.normal(size=(count, *own.inputs.shape[1:]))).to(own.inputs)
    chosen = torch.from_numpy(rng.integers(len(own), size=count)).to(own.targets.device)
    return Shard(LOUD * inputs, own.targets[chosen])


def _scores(federation: Federation, hospital: int, canaries: Shard, known: Shard) -> Scores:
    engine = make_engine("threads")
    engine.start(federation.plan)
    state, scores = federation.begin(), np.zeros(len(canaries))
    try:
        for _ in range(federation.schedule.rounds):
            state, outcome = play_round(federation, engine, state)
            if outcome.sent is None or hospital not in outcome.sent.clients:
                continue
            row = outcome.sent.rows.row(outcome.sent.clients.index(hospital)).double()
            assert outcome.received is not None
            slopes = federation.learner.gradients
            mine = slopes(outcome.received, canaries.inputs, canaries.targets).double()
            rest = slopes(outcome.received, known.inputs, known.targets).double()
            scores += _parts(row, mine, rest).cpu().numpy()
    finally:
        engine.close()
    return scores


def _parts(row: Tensor, slopes: Tensor, others: Tensor) -> Tensor:
    """Return how much of every gradient ``[m, d]`` there is in minus a row ``[d]``.

    With ``G`` the gradients of canaries and of other records, scaled to length 1:
    ``-(G G^T + RIDGE I)^-1 G row``. Plain dot products would also count what they have in common.
    """
    scaled = torch.cat([slopes, others])
    scaled = scaled / scaled.norm(dim=1, keepdim=True).clamp(min=1e-12)
    gram = scaled @ scaled.T + RIDGE * torch.eye(len(scaled)).to(scaled)
    found: Tensor = -torch.linalg.solve(gram, scaled @ row)
    return found[: len(slopes)]
