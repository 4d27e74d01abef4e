"""Nodes add noise of their own to an array, and the server takes the mean of what comes in time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

server = ServerApp()
client = ClientApp()


@client.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Any:
    node = int(context.node_config["partition-id"])
    number = int(message.content["round"]["number"])
    if [node, number] == [context.run_config["failing"], 1]:
        raise ValueError("no time in this round")
    (got,) = message.content["model"].to_numpy_ndarrays()
    noise = np.random.default_rng([node, number]).standard_normal(got.shape)
    sent = got + noise.astype(np.float32)
    np.save(Path(str(context.run_config["out"])) / f"sent-{number}-{node}.npy", sent)
    content = RecordDict({"model": ArrayRecord([sent]), "node": ConfigRecord({"number": node})})
    return Message(content, reply_to=message)


@server.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    out, wanted = Path(str(config["out"])), int(config["nodes"])
    while len(list(grid.get_node_ids())) < wanted:
        time.sleep(0.2)
    nodes = sorted(grid.get_node_ids())
    model = np.zeros(int(config["size"]), np.float32)
    for number in range(int(config["rounds"])):
        began = time.monotonic()
        np.save(out / f"model-{number}.npy", model)
        messages = [
            Message(
                RecordDict(
                    {"model": ArrayRecord([model]), "round": ConfigRecord({"number": number})}
                ),
                dst_node_id=node,
                message_type="train",
                group_id=str(number),
            )
            for node in nodes
        ]
        replies = list(grid.send_and_receive(messages, timeout=float(config["timeout"])))
        good = [reply for reply in replies if reply.has_content()]
        said = {
            "round": number,
            "nodes": sorted(int(reply.content["node"]["number"]) for reply in good),
            "errors": [reply.error.reason for reply in replies if reply.has_error()],
            "seconds": round(time.monotonic() - began, 2),
        }
        with (out / "rounds.jsonl").open("a") as lines:
            lines.write(json.dumps(said) + "\n")
        if len(good) < int(config["quorum"]):
            (out / "stopped").write_text(
                f"round {number}: {len(good)} of {len(nodes)} nodes answered in time, "
                f"the quorum is {config['quorum']}"
            )
            return
        model = np.mean([reply.content["model"].to_numpy_ndarrays()[0] for reply in good], axis=0)
    (out / "finished").write_text("all rounds")
