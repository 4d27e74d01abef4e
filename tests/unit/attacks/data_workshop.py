"""A hostile hospital's workshop, at a model that was trained a little, for tests of attacks."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples, Shard
from asepsis.core.threat import ThreatModel
from asepsis.core.workshop import Workshop
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation, Schedule
from asepsis.federation.hostile import workshop
from asepsis.federation.parts import Parts
from asepsis.federation.round import play_round

MODELS = {
    Kind.IMAGE: ("classification", "small-cnn"),
    Kind.MULTILABEL_IMAGE: ("multilabel", "small-cnn"),
    Kind.TABLE: ("tabular", "mlp"),
}


def samples(kind: Kind, n: int, seed: int) -> Samples:
    """Samples of three classes that a small network learns in a few rounds."""
    rng = np.random.default_rng(seed)
    ids = np.arange(n)
    if kind is Kind.TABLE:
        labels = np.arange(n) % 3
        table = rng.normal(size=(n, 8)) + 2.0 * np.eye(8)[labels]
        return Samples(table.astype(np.float32), labels, ids, ids)
    images = rng.integers(60, 140, size=(n, 16, 16)).astype(np.uint8)
    several = rng.random((n, 3)) < 0.4
    labels = np.arange(n) % 3
    shown = several if kind is Kind.MULTILABEL_IMAGE else np.eye(3, dtype=bool)[labels]
    for k in range(3):
        images[shown[:, k], 5 * k : 5 * k + 5, 4:12] += np.uint8(60)
    targets = several.astype(np.uint8) if kind is Kind.MULTILABEL_IMAGE else labels
    return Samples(images, targets, ids, ids)


@cache
def trained(kind: Kind, rounds: int = 4, n: int = 60) -> tuple[Federation, Tensor]:
    """A federation of four hospitals (1 and 2 hostile) and its model after honest rounds."""
    task, model = MODELS[kind]
    federation, _ = assemble(
        Parts(
            facts=DataFacts(kind, ("a", "b", "c")),
            hospitals=tuple(
                Hospital(i, f"h{i}", *(samples(kind, k, 10 * i + k) for k in (n, 6, 30)))
                for i in range(4)
            ),
            task=build("task", task),
            model=build("model", model),
            trainer=build("trainer", {"name": "sgd", "steps": 8, "batch_size": 16}),
            pipeline=build_pipeline(["mean"]),
            server=build("server-optimizer", "fedavg"),
            threat=ThreatModel(clients=(1, 2)),
            attack=None,
            schedule=Schedule(rounds=rounds + 20),
            streams=Streams(0),
        )
    )
    engine = make_engine("serial")
    engine.start(federation.plan)
    state = federation.begin()
    for _ in range(rounds):
        state, _ = play_round(federation, engine, state)
    return federation, state.row


def shop_of(kind: Kind, client: int = 1, round_: int = 4, **options: Any) -> Workshop:
    """What one hostile hospital is handed in a round, at the trained model."""
    federation, row = trained(kind, **options)
    cohort = federation.cohort(round_)
    facts = federation.facts_of(round_, cohort, row)
    return workshop(federation, client, cohort, (1, 2), facts)


def spied(shop: Workshop, **changes: Any) -> tuple[Workshop, list[Shard]]:
    """A workshop whose honest training only remembers what it was to train on."""
    seen: list[Shard] = []

    def honest(shard: Shard) -> tuple[Tensor, dict[str, float]]:
        seen.append(shard)
        return torch.zeros(shop.layout.dim), {"loss": 0.0}

    fields = {field: getattr(shop, field) for field in Workshop.__slots__}
    return Workshop(**{**fields, "honest": honest, **changes}), seen


def accuracy(shop: Workshop, row: Tensor, test: Samples) -> float:
    """Accuracy of the received model plus a row, on raw samples."""
    shop.layout.load(shop.module, shop.received + row)
    shard = shop.prepare(test)
    with torch.no_grad():
        outputs = shop.module.eval()(shard.inputs)
    return float((outputs.argmax(dim=1) == shard.targets).double().mean())
