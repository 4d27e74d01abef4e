"""Secure aggregation end to end, beside Flower's SecAgg+ in the same run: seconds, bytes, error.

Usage: python benchmarks/secure_aggregation.py [--hospitals 100] [--parameters 1000000]
       [--dropouts 0.1] [--threads 1] [--repeats 1] [--complete] [--json]

Both sum the same rows with the same counts, over the same number of neighbors and with the same
threshold; the same hospitals drop out after their shares were handed out and before they send a
vector. All roles run one after another in this process, without a network. Ours is the transport
as a round uses it: signed keys, sealed shares, masks, the survivors' signatures, unmasking. It runs
with its defaults (24 bits, counts up to 1,000,000, modulus 2^64); `32 bit` is the same without
counts and with 20 bits, so that the modulus is 2^32.

Flower is driven as a server would: its `SecAggPlusWorkflow`, whose messages a grid in this process
hands to its `secaggplus_mod`, with its default ranges (2^22 levels, clip 8, counts up to 1000,
modulus 2^32 in words of 64 bits). What it is not charged for: messages are objects that nobody
packs, no model is sent down, a hospital's update is packed beforehand, and the strategy that
follows does nothing. It has no signatures and no consistency check. `pip install --no-deps flwr`
and what it asks for when imported is enough; without it, only ours is timed.

`error` is the largest difference of the delivered sum, over its weight, from float64's mean; `step`
the quantization step, which ours must stay below. `cpu` is processor time.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import importlib.util
import json
import logging
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from asepsis.core.channel import Channel
from asepsis.core.updates import Individual, Rows, Summed
from asepsis.defenses.masking.graph import Graph
from asepsis.defenses.transport.secure_aggregation import SecureAggregation

Result = dict[str, float]
LATE = 3
"""Flower's message in which a vector is sent: setup, shares, vector, unmasking."""


def rows_and_counts(n: int, d: int) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(0)
    counts = torch.randint(100, 1000, (n,), generator=made).double()
    return 0.1 * torch.randn(n, d, generator=made), counts


def true_mean(rows: Tensor, counts: Tensor) -> Tensor:
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for row, count in zip(rows, counts, strict=True):
        total += float(count) * row.double()
    return total / counts.sum()


def timed(call: Callable[[], Tensor], truth: Tensor) -> Result:
    wall, cpu = time.perf_counter(), time.process_time()
    mean = call()
    seconds, busy = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": seconds, "cpu": busy, "error": float((mean - truth).abs().max())}


def ours(
    stage: SecureAggregation, rows: Tensor, counts: Tensor, alive: Tensor, note: Result
) -> Tensor:
    n = len(rows)
    clients = tuple(int(i) for i in alive)
    updates = Individual(clients, Rows(rows[len(rows) - len(alive) :]), counts[alive])
    rng = np.random.Generator(np.random.Philox(0))
    carried = stage.deliver(updates, Channel(0, rng, tuple(range(n))))
    assert isinstance(carried.delivery, Summed), carried.aborted
    note["bytes up"] = carried.measurements["bytes_up_max"]
    note["bytes down"] = carried.measurements["bytes_down_max"]
    return carried.delivery.total.double() / carried.delivery.weight


class Flower:
    """Flower's workflow and mod around a grid in this process."""

    def __init__(self, graph: Graph, rows: Tensor, counts: Tensor, alive: Tensor) -> None:
        os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
        self.app = importlib.import_module("flwr.app")
        self.mod = importlib.import_module("flwr.client.mod").secaggplus_mod
        self.common = importlib.import_module("flwr.common")
        self.compat = importlib.import_module("flwr.compat.common.recorddict_compat")
        identity = importlib.import_module("flwr.supercore.task_identity").TaskIdentity
        identity.task_id, identity.run_id, identity.node_id = 1, 1, 0
        logging.getLogger("flwr").setLevel(logging.ERROR)
        self.graph, self.nodes = graph, list(range(1, len(rows) + 1))
        self.alive = {int(i) + 1 for i in alive}
        self.states = {node: self._context(node) for node in self.nodes}
        self.steps = dict.fromkeys(self.nodes, 0)
        self.updates = {
            node: self._update(rows[node - 1], int(counts[node - 1])) for node in self.nodes
        }
        self.mean = torch.empty(0)
        self.up = 0

    def run(self) -> Tensor:
        """Return the weighted mean that the workflow hands to its strategy."""
        workflow = importlib.import_module("flwr.server.workflow")
        constant = importlib.import_module("flwr.server.workflow.constant")
        legacy = importlib.import_module("flwr.server.compat.legacy_context").LegacyContext
        context = legacy(self._context(0), strategy=self, client_manager=self)
        main = self.app.ConfigRecord({constant.Key.CURRENT_ROUND: 1})
        context.state.config_records[constant.MAIN_CONFIGS_RECORD] = main
        empty = self.app.ArrayRecord()
        context.state.array_records[constant.MAIN_PARAMS_RECORD] = empty
        workflow.SecAggPlusWorkflow(self.graph.degree + 1, self.graph.threshold)(self, context)
        return self.mean

    def send_and_receive(self, messages: list[Any], timeout: float | None = None) -> list[Any]:
        """Be the grid: hand messages straight to the mod."""
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            self.steps[node] += 1
            # The mod takes its messages apart, and some share one content.
            message.content = copy.deepcopy(message.content)
            if self.steps[node] < LATE or node in self.alive:
                replies.append(self.mod(message, self.states[node], self._train))
                if self.steps[node] == LATE:
                    vectors = replies[-1].content.config_records["secaggplus_configs"]
                    self.up = max(self.up, sum(map(len, vectors["masked_params"])))
        return replies

    def configure_fit(self, *_: object) -> list[Any]:
        """Be the strategy: everybody is drawn, and no model is sent."""
        proxies = [type("Proxy", (), {"node_id": node})() for node in self.nodes]
        ins = self.common.FitIns(self.common.Parameters([], "numpy.ndarray"), {})
        return [(proxy, ins) for proxy in proxies]

    def num_available(self) -> int:
        """Be the client manager."""
        return len(self.nodes)

    def aggregate_fit(self, _: int, results: list[Any], __: object) -> tuple[None, dict[str, Any]]:
        """Be the strategy: only keep the mean."""
        [mean] = self.common.parameters_to_ndarrays(results[0][1].parameters)
        self.mean = torch.from_numpy(mean)
        return None, {}

    def _context(self, node: int) -> Any:
        return self.app.Context(
            run_id=1, node_id=node, node_config={}, state=self.app.RecordDict(), run_config={}
        )

    def _update(self, row: Tensor, count: int) -> Any:
        status = self.common.Status(self.common.Code.OK, "")
        parameters = self.common.ndarrays_to_parameters([row.numpy()])
        fitted = self.common.FitRes(status, parameters, count, {})
        return self.compat.fitres_to_recorddict(fitted, keep_input=True)

    def _train(self, message: Any, _: object) -> Any:
        return self.app.Message(self.updates[message.metadata.dst_node_id], reply_to=message)


def benchmark(args: argparse.Namespace) -> dict[str, Result]:
    n = args.hospitals
    rows, counts = rows_and_counts(n, args.parameters)
    alive = torch.arange(n)[round(args.dropouts * n) :]
    graph: Literal["complete", "auto"] = "complete" if args.complete else "auto"
    wide = SecureAggregation(graph=graph, dropouts=args.dropouts)
    narrow = SecureAggregation(graph=graph, dropouts=args.dropouts, weighted=False, bits=20)
    truth = true_mean(rows[alive], counts[alive])
    plain = true_mean(rows[alive], torch.ones(len(alive)))
    shape = wide.shape_of(n)
    runs: dict[str, list[Result]] = {}
    for _ in range(args.repeats):
        for name, stage, mean in (("asepsis", wide, truth), ("asepsis, 32 bit", narrow, plain)):
            note = {"step": stage.grid(n).step}
            found = timed(lambda s=stage, x=note: ours(s, rows, counts, alive, x), mean)  # type: ignore[misc]
            if not found["error"] < note["step"]:
                raise SystemExit(f"{name}: an error of {found['error']}, of {note['step']} allowed")
            runs.setdefault(name, []).append(found | note)
        if importlib.util.find_spec("flwr") is not None:
            flower = Flower(shape, rows, counts, alive)
            found = timed(flower.run, truth) | {"bytes up": float(flower.up)}
            runs.setdefault("flower", []).append(found)
    table = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    if "flower" in table:
        for key in ("seconds", "cpu"):
            table["asepsis"][f"{key} ratio"] = table["flower"][key] / table["asepsis"][key]
    table["graph"] = {"neighbors": shape.degree, "threshold": shape.threshold}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--hospitals", type=int, default=100)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--dropouts", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--complete", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    table = benchmark(args)
    if args.json:
        print(json.dumps(table))
        return
    for name, found in table.items():
        print(f"{name:16}", *(f"{key} {value:.4g}" for key, value in found.items()), sep="  ")


if __name__ == "__main__":
    main()
