"""What is shown to those who watch a federation, of every kind of data, to try them on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import Kind, Shard
from asepsis.core.threat import BroadcastView, Facts, ReleaseView, ServerView
from asepsis.core.updates import Grouped, Individual, Rows, Summed
from asepsis.models.gan import Gan
from asepsis.models.generators import Generator
from asepsis.testing.learners import learner_for
from asepsis.training.learner import Learner
from asepsis.training.sgd import Sgd

HOSPITALS = 5
CLASSES = 3
SAMPLES = 16
WIDTH = 8
SHAPES: dict[Kind, tuple[int, ...]] = {
    Kind.IMAGE: (1, 12, 12),
    Kind.MULTILABEL_IMAGE: (1, 12, 12),
    Kind.VOLUME: (1, 8, 8, 8),
    Kind.TABLE: (6,),
    Kind.SEQUENCE: (10, 2),
    Kind.PAIRED_IMAGE: (1, 12, 12),
}
TASKS = {
    Kind.IMAGE: "classification",
    Kind.MULTILABEL_IMAGE: "multilabel",
    Kind.VOLUME: "classification",
    Kind.TABLE: "tabular",
    Kind.SEQUENCE: "sequence",
    Kind.PAIRED_IMAGE: "translation",
}


def views(
    kind: Kind, *, deep: bool = False, cohort: tuple[int, ...] = tuple(range(HOSPITALS))
) -> tuple[ServerView, ReleaseView]:
    """Return what a curious server has of five hospitals, and what the holder of a model has.

    The model is linear, a convolution for pairs of images; with ``deep`` two linear layers.
    """
    learner = _learner(kind, deep)
    row = learner.fresh(np.random.default_rng(0))
    rows = _trained(kind, learner, dict.fromkeys(cohort, row))
    facts = Facts(0, len(cohort), 1.0, row.clone(), parameters=learner.parameters)
    trainer = learner.trainer
    weights = torch.full((len(cohort),), float(SAMPLES), dtype=torch.float64)
    server = ServerView(
        facts=facts,
        sent=row,
        delivery=Individual(cohort, Rows(rows), weights),
        learner=learner,
        scale=trainer.gradient_scale,
        batch=trainer.batch,
        recipe=trainer.recipe,
        candidates=_samples(kind, 0),
        public=_samples(kind, 9),
        cohort=cohort,
    )
    release = ReleaseView(
        facts, row + rows[0], learner, trainer.recipe, server.candidates, server.public
    )
    return server, release


def released_generator() -> ReleaseView:
    """Return what anyone has who holds a generator of images that five hospitals trained."""
    shape = SHAPES[Kind.IMAGE]
    with building_modules(0):
        generator = Generator(shape, CLASSES, z_dim=4, width=WIDTH)
        learner = learner_for(Gan(generator, _shallow(shape, False)), shape, CLASSES)
    facts = Facts(0, HOSPITALS, 1.0, parameters=learner.parameters)
    candidates, public = _samples(Kind.IMAGE, 0), _samples(Kind.IMAGE, 9)
    row = learner.layout.flatten(learner.module)
    return ReleaseView(facts, row, learner, learner.trainer.recipe, candidates, public)


def come_back(view: ServerView, kind: Kind, told: Mapping[int, Tensor]) -> ServerView:
    """Return the round after hospitals trained on what each was told."""
    assert isinstance(view.delivery, Individual)
    assert isinstance(view.learner, Learner)
    started = {client: told.get(client, view.sent) for client in view.cohort}
    rows = _trained(kind, view.learner, started)
    return replace(view, delivery=view.delivery.with_rows(rows), told=told)


def behind_a_sum(view: ServerView) -> ServerView:
    """Return the same round behind a secure sum: of single rows, nothing."""
    rows = rows_of(view)
    total, weight = SAMPLES * rows.sum(dim=0), float(SAMPLES * len(rows))
    return replace(view, delivery=Summed(len(rows), total, weight))


def masked(view: ServerView) -> ServerView:
    """Return the same round behind a secure sum, with the masked messages that passed."""
    noise = np.random.default_rng(3).standard_normal((len(view.cohort), len(view.sent)))
    wire = {
        client: torch.from_numpy(row).to(view.sent)
        for client, row in zip(view.cohort, noise, strict=True)
    }
    return replace(behind_a_sum(view), wire=wire)


def in_groups(view: ServerView) -> ServerView:
    """Return the same round in two groups that are summed apart: the first two, and the others."""
    rows, first, rest = rows_of(view), view.cohort[:2], view.cohort[2:]
    means = torch.stack([rows[:2].mean(dim=0), rows[2:].mean(dim=0)])
    weights = torch.tensor([len(first), len(rest)], dtype=torch.float64) * SAMPLES
    members = {first[0]: first, rest[0]: rest}
    return replace(view, delivery=Grouped(tuple(members), Rows(means), weights, members=members))


def before_it_is_sent(view: ServerView) -> BroadcastView:
    """Return what a server that tampers has before this round."""
    return BroadcastView(view.facts, view.sent.clone(), view.cohort, view.learner, view.public)


def rows_of(view: ServerView) -> Tensor:
    """Return the single updates ``[n, d]`` of a view that has them."""
    assert isinstance(view.delivery, Individual)
    return view.delivery.rows.dense()


def _trained(kind: Kind, learner: Learner, started: dict[int, Tensor]) -> Tensor:
    fitted = [
        learner.fit(row, _samples(kind, client), np.random.default_rng(client)) - row
        for client, row in started.items()
    ]
    return torch.stack(fitted)


def _learner(kind: Kind, deep: bool) -> Learner:
    shape = SHAPES[kind]
    pairs = kind is Kind.PAIRED_IMAGE
    classes = 0 if pairs else CLASSES
    with building_modules(0):
        module = _perceptron(shape, pairs) if deep else _shallow(shape, pairs)
    trainer = Sgd(lr=0.1, momentum=0.0, batch_size=8)
    task = build("task", TASKS[kind])
    target = shape if pairs else None
    return learner_for(
        module, shape, classes, task=task, trainer=trainer, kind=kind, target_shape=target
    )


def _shallow(shape: tuple[int, ...], pairs: bool) -> nn.Module:
    if pairs:
        return nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Tanh())
    module: nn.Module = build("model", "logistic").build(shape, CLASSES)
    return module


def _perceptron(shape: tuple[int, ...], pairs: bool) -> nn.Module:
    size = prod(shape)
    layers = [nn.Flatten(), nn.Linear(size, WIDTH), nn.ReLU()]
    if not pairs:
        return nn.Sequential(*layers, nn.Linear(WIDTH, CLASSES))
    return nn.Sequential(*layers, nn.Linear(WIDTH, size), nn.Unflatten(1, shape))


def _samples(kind: Kind, seed: int) -> Shard:
    rng = np.random.default_rng(100 + seed)
    inputs = rng.uniform(-1, 1, (SAMPLES, *SHAPES[kind])).astype(np.float32)
    return Shard(torch.from_numpy(inputs), _targets(kind, rng))


def _targets(kind: Kind, rng: np.random.Generator) -> Tensor:
    if kind is Kind.MULTILABEL_IMAGE:
        return torch.from_numpy(rng.integers(2, size=(SAMPLES, CLASSES)).astype(np.float32))
    if kind is Kind.PAIRED_IMAGE:
        shape = (SAMPLES, *SHAPES[kind])
        image = torch.from_numpy(rng.uniform(-1, 1, shape).astype(np.float32))
        return torch.cat([image, torch.ones(shape)], dim=1)
    return torch.from_numpy(rng.integers(CLASSES, size=SAMPLES))
