"""Federated averaging of a small network on breast-cancer, as one writes it with Flower alone."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

STEPS, BATCH = 8, 16
server = ServerApp()
client = ClientApp()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2)
    )


def patients(node: int, nodes: int) -> tuple[Tensor, Tensor]:
    found = load_breast_cancer()
    values = torch.tensor(found.data, dtype=torch.float32)
    values = (values - values.mean(0)) / values.std(0)
    return values[node::nodes], torch.tensor(found.target)[node::nodes]


@client.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Any:
    config = context.node_config
    inputs, targets = patients(int(config["partition-id"]), int(context.run_config["nodes"]))
    module = network()
    module.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    order = torch.randperm(len(inputs))
    for step in range(STEPS):
        batch = order[step * BATCH : (step + 1) * BATCH]
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(module(inputs[batch]), targets[batch]))
        optimizer.step()
    content = {
        "arrays": ArrayRecord(module.state_dict()),
        "metrics": MetricRecord({"num-examples": len(inputs)}),
    }
    return Message(RecordDict(content), reply_to=message)


@server.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    nodes, rounds, mark = int(config["nodes"]), int(config["rounds"]), str(config["mark"])
    while len(list(grid.get_node_ids())) < nodes:
        time.sleep(0.2)

    def after(round_: int, _: ArrayRecord) -> None:
        print(f"{mark}round {round_} of {rounds}", flush=True)

    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    first = ArrayRecord(network().state_dict())
    strategy.start(grid, first, num_rounds=rounds, evaluate_fn=after)
    print(f"{mark}end", flush=True)
