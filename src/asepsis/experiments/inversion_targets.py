"""Gradient inversion on fixed targets: success rate and distribution, not the best picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from asepsis.core.contracts import BroadcastAttack, ServerAttack, Trainer
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Array, Kind, Shard
from asepsis.core.threads import one_thread
from asepsis.core.threat import BroadcastView, Facts, ServerView
from asepsis.core.updates import Individual, Rows, State
from asepsis.federation.federation import Federation
from asepsis.federation.scoring.inversion import as_pixels, compared, labels_right
from asepsis.metrics.intervals import Interval, t_interval
from asepsis.metrics.leakage import match
from asepsis.metrics.reconstruction import averaged, distances, inside
from asepsis.training.learner import Learner
from asepsis.training.sgd import Sgd

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Inversions:
    """What an attack made of every target.

    Attributes:
        values: every figure of :mod:`asepsis.metrics.reconstruction`, one value a target (means
            over the target's batch; of paired images also ``target/...`` and, in the body,
            ``inside/...``), NaN where the attack returned nothing. A target that was missed
            altogether is no success.
        success: share of reconstructed samples, with its 95 % interval (Wilson).
        batch: samples behind each update.
        local_steps: how many steps each update holds.
        targets: how many there were.
        pictures: truth and guess of the first targets, ``[m, ...]``, in the order of the targets.
    """

    values: Mapping[str, tuple[float, ...]]
    success: Interval
    batch: int
    local_steps: int
    targets: int
    pictures: Mapping[str, Tensor]

    def mean(self, figure: str) -> Interval:
        """Return a figure's mean over targets with its 95 % t-interval."""
        return t_interval(self.values[figure])

    def quantiles(self, figure: str) -> tuple[float, ...]:
        """Return a figure's :data:`QUANTILES` over the targets that have it."""
        known = np.array(self.values[figure])
        known = known[~np.isnan(known)]
        return tuple(float(q) for q in np.quantile(known, QUANTILES)) if known.size else ()


def draw_targets(federation: Federation, count: int, batch: int = 1, seed: int = 0) -> Shard:
    """Draw ``count`` targets of ``batch`` training samples each, over all hospitals."""
    shards = [federation.plan.shards[hospital.id, "clean"] for hospital in federation.hospitals]
    inputs = torch.cat([shard.inputs for shard in shards])
    targets = torch.cat([shard.targets for shard in shards])
    order = Streams(seed).at(Draw.CANDIDATES, count, batch).permutation(len(inputs))
    where = torch.from_numpy(order[: count * batch])
    return Shard(inputs[where], targets[where])


def invert_targets(
    attack: ServerAttack,
    learner: Learner,
    row: Tensor,
    targets: Shard,
    public: Shard | None = None,
    *,
    batch: int = 1,
    trainer: Trainer | None = None,
    seed: int = 0,
    shown: int = 8,
) -> Inversions:
    """Attack one update of each target: fixed targets, the attack's own stated restarts.

    Args:
        attack: what inverts; one that tampers sends its model first.
        learner: the network, its loss and kind of data.
        row: the weights ``[d]`` that updates start from, initial or trained.
        targets: ``[k * batch]`` samples; the update of target i comes from its ``batch`` samples.
        public: samples of nobody, for priors, candidates and attacks that need them.
        batch: samples of one target.
        trainer: how a hospital trains; one step of plain SGD when left out: one gradient.
        seed: of the attack's generators.
        shown: how many targets to keep pictures of.
    """
    how = trainer or Sgd(lr=0.1, momentum=0.0, batch_size=batch, steps=1)
    learner = replace(learner, trainer=how)
    count = len(targets) // batch
    scores: list[dict[str, float]] = []
    pictures: dict[str, list[Tensor]] = {"truth": [], "guess": []}
    for i in range(count):
        own = slice(i * batch, (i + 1) * batch)
        shard = Shard(targets.inputs[own], targets.targets[own])
        rest = Shard(*(_without(part, own) for part in (targets.inputs, targets.targets)))
        guesses = _attacked(attack, learner, row, shard, public, how, Streams(seed), i)
        chance = Streams(seed).at(Draw.BOOTSTRAP, i)
        found, pair = _scored(guesses, shard, rest, public, chance, learner.kind)
        scores.append(found)
        for name, part in pair.items() if i < shown else ():
            pictures.setdefault(name, []).append(part)
    names = sorted({name for found in scores for name in found})
    values = {name: tuple(found.get(name, np.nan) for found in scores) for name in names}
    hits = sum(found.get("success", 0.0) * found.get("pairs", 0.0) for found in scores)
    return Inversions(
        values={name: part for name, part in values.items() if name != "pairs"},
        success=_wilson(hits, count * batch),
        batch=batch,
        local_steps=how.recipe(batch).steps,
        targets=count,
        pictures={name: torch.cat(parts) for name, parts in pictures.items() if parts},
    )


def _attacked(
    attack: ServerAttack,
    learner: Learner,
    row: Tensor,
    shard: Shard,
    public: Shard | None,
    trainer: Trainer,
    streams: Streams,
    number: int,
) -> dict[str, Tensor]:
    """Let one hospital train on one target, and the server look at its update."""
    facts = Facts(0, 1, 1.0, row, parameters=learner.parameters)
    state: State = {}
    told: dict[int, Tensor] = {}
    with one_thread():
        if isinstance(attack, BroadcastAttack):
            broadcast = BroadcastView(facts, row.clone(), (0,), learner, public)
            rng = streams.at(Draw.ATTACK_BROADCAST, number)
            state, sent = attack.tamper(state, broadcast, rng)
            told = dict(sent)
        start = told.get(0, row)
        after = learner.fit(start, shard, streams.at(Draw.BATCH, number))
        counts = torch.tensor([len(shard)], dtype=torch.float64)
        view = ServerView(
            facts=facts,
            sent=row.clone(),
            delivery=Individual((0,), Rows((after - start)[None]), counts),
            learner=learner,
            scale=trainer.gradient_scale,
            batch=trainer.batch,
            recipe=trainer.recipe,
            public=public,
            told=told,
        )
        _, evidence = attack.observe(state, view, streams.at(Draw.ATTACK_OBSERVE, number))
    return {} if evidence is None else evidence.guesses


def _scored(
    guesses: dict[str, Tensor],
    shard: Shard,
    rest: Shard,
    public: Shard | None,
    rng: np.random.Generator,
    kind: Kind,
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Score one target; other targets and public samples are the candidates beside it."""
    if "inputs" not in guesses:
        return {}, {}
    guess, real, other = _arrays(guesses["inputs"], shard.inputs, rest.inputs)
    guess = as_pixels(guess, kind)
    pairs = mine, matched = match(guess, real)
    known = None if public is None else _arrays(public.inputs)[0]
    others = other if known is None else np.concatenate([other, known])
    found = compared(guess, real, pairs, known, others, rng) | {"pairs": float(len(mine))}
    found |= labels_right(guesses, mine, shard.targets[matched])
    pair = {"truth": shard.inputs[matched].cpu(), "guess": torch.from_numpy(guess[mine])}
    if "targets" in guesses and shard.targets.dim() == 4:
        second, images, beside = _arrays(
            guesses["targets"], shard.targets[:, :1], rest.targets[:, :1]
        )
        second = as_pixels(second, kind)
        held = None if public is None else _arrays(public.targets[:, :1])[0]
        candidates = beside if held is None else np.concatenate([beside, held])
        costs = distances(guess, np.concatenate([real, others]))
        theirs = compared(second, images, pairs, held, candidates, rng, costs)
        found |= {f"target/{name}": value for name, value in theirs.items()}
        body = _arrays(shard.targets[:, 1])[0][matched] > 0.5
        for prefix, one, true in (("", guess, real), ("target/", second, images)):
            outline = averaged(inside(one[mine], true[matched], body))
            found |= {f"{prefix}inside/{name}": value for name, value in outline.items()}
        pair["truth_target"] = torch.from_numpy(images[matched])
        pair["guess_target"] = torch.from_numpy(second[mine])
    return found, pair


def _arrays(*parts: Tensor) -> tuple[Array, ...]:
    return tuple(part.detach().float().cpu().contiguous().numpy() for part in parts)


def _without(part: Tensor, own: slice) -> Tensor:
    return torch.cat([part[: own.start], part[own.stop :]])


def _wilson(hits: float, n: int) -> Interval:
    """Return a share with its Wilson interval, which is not empty at 0 and 1."""
    z = float(stats.norm.ppf(0.975))
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return Interval(share, middle - half, middle + half, n)
