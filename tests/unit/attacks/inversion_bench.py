"""Hospitals that really train, and a server that looks: for tests of gradient inversion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asepsis.core.contracts import BroadcastAttack, Task
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import Kind, Shard
from asepsis.core.threat import BroadcastView, Evidence, Facts, ServerView
from asepsis.core.updates import Individual, Rows, State, Summed
from asepsis.testing.learners import learner_for
from asepsis.training.learner import Learner
from asepsis.training.sgd import Sgd

LR = 0.05


def samples(count: int, shape: tuple[int, ...], classes: int = 3, seed: int = 0) -> Shard:
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(-1, 1, (count, *shape)).astype(np.float32)
    return Shard(torch.from_numpy(inputs), torch.from_numpy(rng.integers(classes, size=count)))


def network(
    model: str | dict[str, Any],
    shape: tuple[int, ...],
    trainer: Sgd,
    *,
    kind: Kind = Kind.IMAGE,
    task: str = "classification",
    classes: int = 3,
    target_shape: tuple[int, ...] | None = None,
) -> tuple[Learner, Tensor]:
    with building_modules(0):
        module = build("model", model).build(shape, classes)
    judge: Task = build("task", task)
    made = learner_for(
        module, shape, classes, task=judge, trainer=trainer, kind=kind, target_shape=target_shape
    )
    return made, made.layout.flatten(module)


def one_step(batch: int, **options: Any) -> Sgd:
    return Sgd(**{"lr": LR, "momentum": 0.0, "batch_size": batch, "steps": 1, **options})


def watched(
    learner: Learner, row: Tensor, homes: list[Shard], told: dict[int, Tensor] | None = None
) -> ServerView:
    """Every home trains from what it was told; the server sees single rows."""
    told = told or {}
    starts = [told.get(client, row) for client in range(len(homes))]
    rows = [
        learner.fit(start, home, np.random.default_rng(client)) - start
        for client, (start, home) in enumerate(zip(starts, homes, strict=True))
    ]
    counts = torch.tensor([len(home) for home in homes], dtype=torch.float64)
    facts = Facts(0, len(homes), 1.0, row, parameters=learner.parameters)
    return ServerView(
        facts=facts,
        sent=row,
        delivery=Individual(tuple(range(len(homes))), Rows(torch.stack(rows)), counts),
        learner=learner,
        scale=learner.trainer.gradient_scale,
        batch=learner.trainer.batch,
        recipe=learner.trainer.recipe,
        public=samples(200, learner.input_shape, seed=77),
        told=told,
    )


def summed(view: ServerView) -> ServerView:
    assert isinstance(view.delivery, Individual)
    weights = view.delivery.weights
    total = (view.delivery.rows.dense() * weights[:, None]).sum(dim=0).float()
    return replace(view, delivery=Summed(len(weights), total, float(weights.sum())))


def tampered(
    attack: BroadcastAttack, learner: Learner, row: Tensor, homes: list[Shard]
) -> tuple[State, ServerView]:
    cohort = tuple(range(len(homes)))
    view = BroadcastView(
        facts=Facts(0, len(homes), 1.0, row, parameters=learner.parameters),
        sent=row,
        cohort=cohort,
        learner=learner,
        public=samples(200, learner.input_shape, seed=77),
    )
    state, told = attack.tamper({}, view, np.random.default_rng(0))
    return state, watched(learner, row, homes, dict(told))


def seen_by(attack: Any, view: ServerView, state: State | None = None, seed: int = 0) -> Evidence:
    _, evidence = attack.observe(state or {}, view, np.random.default_rng(seed))
    assert isinstance(evidence, Evidence)
    return evidence
