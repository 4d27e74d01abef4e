"""Training samples a second of a whole federated round, beside two bare PyTorch loops.

Usage: python benchmarks/round_throughput.py [--rounds 5] [--json]

A round is cohort, local training of 20 hospitals, stacking, mean, server step; evaluation is left
out. The first bare loop is the one people write (NCHW, default SGD, two intra-op threads, one
model reused, clients in turn), the second has our memory layout and optimizer settings
(channels-last, fused SGD, one intra-op thread). All take the same SGD steps on in-memory tensors.
Ratios hold within one run only; the loops are interleaved and the median round is reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asepsis.core.desk import Network
from asepsis.core.engine import Plan
from asepsis.core.layout import Layout
from asepsis.core.registry import build
from asepsis.core.rng import Streams, building_modules
from asepsis.core.samples import DataFacts, Kind, Shard
from asepsis.core.threat import ThreatModel
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.federation import Federation, Schedule
from asepsis.federation.round import play_round
from asepsis.testing.learners import learner_for
from asepsis.training.sgd import Sgd

HOSPITALS, SAMPLES, BATCH, STEPS = 20, 256, 32, 8
CASES = {
    "lenet": ("lenet", (1, 28, 28), "classification"),
    "small-cnn": ("small-cnn", (1, 28, 28), "classification"),
    "mlp": ("mlp", (30,), "tabular"),
}


def network(name: str, shape: tuple[int, ...]) -> nn.Module:
    with building_modules(0):
        module: nn.Module = build("model", name).build(shape, 2)
        return module


def shards(shape: tuple[int, ...]) -> dict[tuple[int, str], Shard]:
    generator = torch.Generator().manual_seed(0)
    made = {}
    for client in range(HOSPITALS):
        inputs = torch.randn(SAMPLES, *shape, generator=generator)
        made[client, "clean"] = Shard(inputs, torch.randint(2, (SAMPLES,), generator=generator))
    return made


def ours(name: str, shape: tuple[int, ...], task: str, engine: str) -> Callable[[], None]:
    module, data = network(name, shape), shards(shape)
    if len(shape) == 3:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        data = {
            key: Shard(s.inputs.contiguous(memory_format=torch.channels_last), s.targets)
            for key, s in data.items()
        }
    layout = Layout.of(module)
    trainer = Sgd(lr=0.01, momentum=0.9, batch_size=BATCH, steps=STEPS)
    weights = dict.fromkeys(range(HOSPITALS), float(SAMPLES))
    goal = build("task", task)
    network_ = Network(module, layout, goal, shape, 2)
    federation = Federation(
        hospitals=(),
        facts=DataFacts(Kind.IMAGE, ("a", "b")),
        plan=Plan(module, layout, goal, trainer, 0, data, weights, network=network_),
        prepare=lambda samples: Shard(torch.empty(0), torch.empty(0)),  # nobody attacks
        learner=learner_for(module, shape, 2),
        pipeline=build_pipeline(["mean"]),
        server=build("server-optimizer", "fedavg"),
        threat=ThreatModel(),
        attack=None,
        schedule=Schedule(rounds=1),
        streams=Streams(0),
    )
    runner = make_engine(engine, 2)
    runner.start(federation.plan)
    state = federation.begin()

    def round_() -> None:
        nonlocal state
        state, _ = play_round(federation, runner, state)

    return round_


def bare(name: str, shape: tuple[int, ...], *, tuned: bool) -> Callable[[], None]:
    module = network(name, shape)
    data = {client: shard for (client, _), shard in shards(shape).items()}
    if tuned and len(shape) == 3:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        data = {
            client: Shard(s.inputs.contiguous(memory_format=torch.channels_last), s.targets)
            for client, s in data.items()
        }
    start = [parameter.detach().clone() for parameter in module.parameters()]
    generator = torch.Generator().manual_seed(0)

    def client_round(shard: Shard, received: list[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), received, strict=True):
                parameter.copy_(value)
        optimizer = torch.optim.SGD(
            module.parameters(), lr=0.01, momentum=0.9, fused=True if tuned else None
        )
        order = torch.randperm(SAMPLES, generator=generator)
        for step in range(STEPS):
            batch = order[step * BATCH : (step + 1) * BATCH]
            optimizer.zero_grad()
            loss = F.cross_entropy(module(shard.inputs[batch]), shard.targets[batch])
            torch.autograd.backward(loss)
            optimizer.step()
        return [p.detach() - r for p, r in zip(module.parameters(), received, strict=True)]

    def round_() -> None:
        nonlocal start
        before = torch.get_num_threads()
        torch.set_num_threads(1 if tuned else 2)
        try:
            deltas = [client_round(shard, start) for shard in data.values()]
            start = [
                value + torch.stack(parts).mean(0)
                for value, *parts in zip(start, *deltas, strict=True)
            ]
        finally:
            torch.set_num_threads(before)

    return round_


def measure(rounds: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for case, (name, shape, task) in CASES.items():
        engines = ["threads", "serial"] + (["batched"] if case == "mlp" else [])
        loops = {engine: ours(name, shape, task, engine) for engine in engines}
        loops |= {"as written": bare(name, shape, tuned=False)}
        loops |= {"tuned": bare(name, shape, tuned=True)}
        times: dict[str, list[float]] = {loop: [] for loop in loops}
        for number in range(rounds + 2):
            for loop, round_ in loops.items():
                started = time.perf_counter()
                round_()
                if number >= 2:  # the first two warm up
                    times[loop].append(time.perf_counter() - started)
        samples = HOSPITALS * STEPS * BATCH
        speed = {loop: samples / statistics.median(values) for loop, values in times.items()}
        found += [
            {
                "model": case,
                "engine": engine,
                "samples_per_second": round(speed[engine]),
                "over_as_written": round(speed[engine] / speed["as written"], 2),
                "over_tuned": round(speed[engine] / speed["tuned"], 2),
            }
            for engine in engines
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{'model':<10} {'engine':<8} {'samples/s':>10} {'x as written':>13} {'x tuned':>8}")
    for row in rows:
        print(
            f"{row['model']:<10} {row['engine']:<8} {row['samples_per_second']:>10} "
            f"{row['over_as_written']:>13} {row['over_tuned']:>8}"
        )


if __name__ == "__main__":
    main()
