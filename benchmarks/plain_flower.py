"""A plain Flower app to measure ours beside: FedAvg over the Message API, and our step loop.

It knows nothing of asepsis but the plan whose model, data and local training both share, and takes
the batches that asepsis draws, so that both make the same model of a round.
"""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from torch import nn

from asepsis.core.engine import Plan
from asepsis.core.rng import Draw, Streams
from asepsis.training.batches import taken
from asepsis.training.sgd import Sgd, descend

PLAN = "PLAIN_FLOWER_PLAN"
"""Names the file that holds the plan."""
app = ClientApp()


def set_up(place: str) -> None:
    """Say where the plan is, in a worker process."""
    os.environ[PLAN] = place


@cache
def _plan() -> tuple[Plan, nn.Module]:
    plan: Plan = pickle.loads(Path(os.environ[PLAN]).read_bytes())  # noqa: S301 (our own file)
    torch.set_num_threads(1)
    module = copy.deepcopy(plan.module)
    if any(parameter.dim() == 4 for parameter in module.parameters()):
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return plan, module


@app.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Any:
    plan, module = _plan()
    client = int(context.node_config["partition-id"])
    round_ = int(message.content["config"]["server-round"])
    module.load_state_dict(message.content["arrays"].to_torch_state_dict())
    module.train()
    shard, trainer = plan.shards[client, "clean"], plan.trainer
    assert isinstance(trainer, Sgd)
    rng = Streams(plan.seed).at(Draw.BATCH, round_, client)
    loss = descend(
        module,
        plan.task,
        taken(shard, trainer.drawn(len(shard), 1.0, rng)),
        lr=trainer.lr,
        momentum=trainer.momentum,
        weight_decay=trainer.weight_decay,
        mu=0.0,
    )
    figures = MetricRecord({"loss": loss, "num-examples": len(shard)})
    trained = ArrayRecord(module.state_dict())
    return Message(RecordDict({"arrays": trained, "metrics": figures}), reply_to=message)


def rounds(grid: Any, module: nn.Module) -> Iterator[ArrayRecord]:
    """Play a round of federated averaging at every step; they are counted from 0."""
    strategy = FedAvg(fraction_evaluate=0.0)
    arrays, config, number = ArrayRecord(module.state_dict()), ConfigRecord(), 0
    while True:
        # This is Strategy.start, a round at a time.
        asked = strategy.configure_train(number, arrays, config, grid)
        answers = grid.send_and_receive(asked, timeout=600)
        found, _ = strategy.aggregate_train(number, answers)
        assert found is not None, "no hospital answered"
        arrays, number = found, number + 1
        yield arrays
