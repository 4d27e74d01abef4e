"""A toy federation whose hospitals trained on samples that the test chose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from asepsis.core.rng import building_modules
from asepsis.core.samples import Array, Shard
from asepsis.core.threat import Facts, Learner, ReleaseView, ServerView
from asepsis.core.updates import Individual, Rows, Summed
from asepsis.testing.learners import learner_for
from asepsis.training.sgd import Sgd

FEATURES = 192
CLASSES = 3
TRAINER = Sgd(lr=0.1, momentum=0.0, batch_size=4)


def a_learner(epochs: int = 30, *, batch_norm: bool = False) -> Learner:
    """A linear network that memorizes random labels within an epoch count."""
    with building_modules(0):
        norm: nn.Module = nn.BatchNorm1d(FEATURES) if batch_norm else nn.Identity()
        module = nn.Sequential(norm, nn.Linear(FEATURES, CLASSES))
    trainer = replace(TRAINER, epochs=epochs)
    return learner_for(module, (FEATURES,), CLASSES, trainer=trainer)


def samples(count: int, seed: int) -> Shard:
    """Noise with random labels: nothing but memory tells its label."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, FEATURES)).astype(np.float32)
    return Shard(torch.from_numpy(inputs), torch.from_numpy(rng.integers(CLASSES, size=count)))


def part(shard: Shard, where: Array) -> Shard:
    chosen = torch.from_numpy(np.asarray(where))
    return Shard(shard.inputs[chosen], shard.targets[chosen])


def facts(round_: int, clients: int, learner: Learner) -> Facts:
    return Facts(round_, clients, 1.0, parameters=learner.parameters)


def a_view(
    learner: Learner, rows: Tensor, candidates: Shard | None, sent: Tensor | None = None
) -> ServerView:
    """What a server sees in round 0 of clients 0, 1, ... with equal weights."""
    clients = tuple(range(len(rows)))
    return ServerView(
        facts=facts(0, len(rows), learner),
        sent=learner.fresh(np.random.default_rng(7)) if sent is None else sent,
        delivery=Individual(clients, Rows(rows), torch.ones(len(rows), dtype=torch.float64)),
        learner=learner,
        scale=TRAINER.gradient_scale,
        batch=TRAINER.batch,
        recipe=TRAINER.recipe,
        candidates=candidates,
    )


def in_round(view: ServerView, round_: int) -> ServerView:
    return replace(view, facts=replace(view.facts, round=round_))


def summed(view: ServerView) -> ServerView:
    assert isinstance(view.delivery, Individual)
    rows = view.delivery.rows.dense()
    return replace(view, delivery=Summed(len(rows), rows.sum(dim=0), float(len(rows))))


def trained_rows(learner: Learner, sent: Tensor, shards: list[Shard]) -> Tensor:
    """Honest updates: local training from what was sent."""
    return torch.stack(
        [learner.fit(sent, s, np.random.default_rng(i)) - sent for i, s in enumerate(shards)]
    )


def a_release(learner: Learner, row: Tensor, candidates: Shard, public: Shard) -> ReleaseView:
    return ReleaseView(facts(0, 1, learner), row, learner, TRAINER.recipe, candidates, public)
