"""Which candidates' truth is known: not where an attack changed what a hospital trained on."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np

from asepsis.core.contracts import DataAttack, TrainAttack
from asepsis.core.samples import Array, Shard
from asepsis.core.threat import Role
from asepsis.federation.candidates import Candidates
from asepsis.federation.federation import Federation
from asepsis.federation.scoring.truth import Truth


def asked(truth: Truth, candidates: Candidates) -> Array:
    """Return which candidates can be scored, bool ``[n]``.

    From the first attacked round on these are left out: training samples that a hostile hospital
    changed, in inputs or label, or no longer has, and as many held-out ones of the same hospital;
    all candidates of hospitals whose training an attack replaced.
    """
    federation = truth.federation
    threat = federation.threat
    attacks = isinstance(federation.attack, DataAttack | TrainAttack)
    so_far = range(truth.round + 1)
    if not (attacks and threat.role is Role.CLIENT and any(map(threat.active, so_far))):
        return np.ones(len(candidates.member), bool)
    return _known(federation, candidates)


def among(candidates: Candidates, where: Array) -> Candidates:
    """Return some of the candidates; the very same where all are kept."""
    return candidates if where.all() else _kept(candidates, where.tobytes())


@lru_cache(maxsize=2)
def _kept(candidates: Candidates, mask: bytes) -> Candidates:
    """Keep one object for one choice: what is fitted to candidates is remembered by it."""
    where = np.flatnonzero(np.frombuffer(mask, bool))
    shard = candidates.shard
    return Candidates(
        Shard(shard.inputs[where], shard.targets[where]),
        candidates.raw.take(where),
        candidates.home[where],
        candidates.member[where],
    )


@lru_cache(maxsize=2)
def _known(federation: Federation, candidates: Candidates) -> Array:
    known = np.ones(len(candidates.member), bool)
    for client in federation.threat.clients:
        here = np.flatnonzero(candidates.home == client)
        if isinstance(federation.attack, TrainAttack):
            known[here] = False
            continue
        members = here[candidates.member[here]]
        changed = members[_changed(federation, client, candidates.raw.ids[members])]
        known[changed] = False
        known[here[~candidates.member[here]][: len(changed)]] = False
    return known


def _changed(federation: Federation, client: int, ids: Array) -> Array:
    """Return which of a hospital's training samples are not among those it trains on, bool."""
    hospital = next(h for h in federation.hospitals if h.id == client)
    place = {int(id_): i for i, id_ in enumerate(hospital.train.ids)}
    clean = _prints(federation.plan.shards[client, "clean"])
    trained = set(_prints(federation.plan.shards[client, "poisoned"]))
    return np.array([clean[place[int(id_)]] not in trained for id_ in ids], bool)


def _prints(shard: Shard) -> list[bytes]:
    inputs, targets = (part.cpu().contiguous().numpy() for part in (shard.inputs, shard.targets))
    pairs = zip(inputs, targets, strict=True)
    return [blake2b(one.tobytes() + other.tobytes()).digest() for one, other in pairs]
