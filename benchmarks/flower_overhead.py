"""Seconds a round on the engine `flower`, beside plain Flower that trains the same model.

Usage: python benchmarks/flower_overhead.py [--rounds 30] [--hospitals 10 20] [--masks] [--ray]

Plain Flower is an app of its own (`plain_flower.py`): its FedAvg over the Message API, our step
loop, the same data, batches and number of workers, on the same backend: Flower's simulation runtime
on processes of this machine. Both make the same model of the first round, which is checked. A round
is everything from the broadcast to the next model; evaluation and start-up are left out. Rounds of
both take turns, so that whatever else the machine does hits both; ratios hold within one run only.
`seconds` are medians with the middle half in brackets, `ratio` is that of the medians, and `cpu`
what server and workers together spend on a round, median too: steadier on a busy machine.

With `--masks` ours plays secure aggregation over the wire too. With `--ray` plain Flower also runs
on Flower's own backend, after the others: Ray listens on every interface.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import plain_flower
from asepsis.core.desk import Network
from asepsis.core.engine import Plan
from asepsis.core.layout import Layout
from asepsis.core.registry import build
from asepsis.core.rng import Streams, building_modules
from asepsis.core.samples import DataFacts, Kind, Samples, Shard
from asepsis.core.threat import ThreatModel
from asepsis.defenses.stack import build_pipeline
from asepsis.engines.flower.engine import Flower
from asepsis.engines.flower.simulation import Simulation, quiet
from asepsis.federation.federation import Federation, Schedule
from asepsis.federation.round import play_round
from asepsis.testing.learners import learner_for
from asepsis.training.sgd import Sgd

WORKERS, SAMPLES, BATCH, STEPS, WARM = 2, 256, 32, 8, 3
CASES: dict[str, tuple[tuple[int, ...], str]] = {
    "small-cnn": ((1, 28, 28), "classification"),
    "mlp": ((30,), "tabular"),
}
MASKS = ["secure-aggregation", "mean"]
CLOSE = 1e-5


def plan_of(name: str, hospitals: int) -> Plan:
    shape, task = CASES[name]
    with building_modules(0):
        module: nn.Module = build("model", name).build(shape, 2)
    draws = torch.Generator().manual_seed(0)
    trainer = Sgd(lr=0.01, momentum=0.9, batch_size=BATCH, steps=STEPS)
    weights = dict.fromkeys(range(hospitals), float(SAMPLES))
    made = {(client, "clean"): _shard(shape, draws) for client in weights}
    layout, goal = Layout.of(module), build("task", task)
    network = Network(module, layout, goal, shape, 2)
    return Plan(module, layout, goal, trainer, 0, made, weights, network=network)


def _shard(shape: tuple[int, ...], draws: torch.Generator) -> Shard:
    inputs = torch.randn(SAMPLES, *shape, generator=draws)
    if len(shape) == 3:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return Shard(inputs, torch.randint(2, (SAMPLES,), generator=draws))


def _nothing(_: Samples) -> Shard:
    return Shard(torch.empty(0), torch.empty(0))  # nobody attacks


@dataclass
class Loop:
    """One way to play rounds; ``processes`` are those that work for it."""

    step: Callable[[], Tensor]
    processes: list[int]
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    model: Tensor | None = None

    def play(self, *, warm: bool) -> None:
        """Play one round, and note what it took once all is warm."""
        before, started = self._spent(), time.perf_counter()
        self.model = self.step()
        seconds, cpu = time.perf_counter() - started, self._spent() - before
        if not warm:
            self.seconds.append(seconds)
            self.cpu.append(cpu)

    def _spent(self) -> float:
        return time.process_time() + sum(map(spent_by, self.processes))


def spent_by(process: int) -> float:
    """Return the processor time of a process, in seconds."""
    return sum(
        int(Path(f"/proc/{process}/task/{thread}/schedstat").read_text().split()[0]) / 1e9
        for thread in os.listdir(f"/proc/{process}/task")
    )


def ours(plan: Plan, stack: list[str], rounds: int) -> Generator[Loop]:
    shape = next(iter(plan.shards.values())).inputs.shape[1:]
    federation = Federation(
        hospitals=(),
        facts=DataFacts(Kind.IMAGE, ("a", "b")),
        plan=plan,
        prepare=_nothing,
        learner=learner_for(plan.module, tuple(shape), 2),
        pipeline=build_pipeline(stack),
        server=build("server-optimizer", "fedavg"),
        threat=ThreatModel(),
        attack=None,
        schedule=Schedule(rounds=rounds),
        streams=Streams(0),
    )
    with closing(Flower(WORKERS)) as engine:
        others = children()
        engine.host(federation)
        engine.start(plan)
        state = federation.begin()

        def step() -> Tensor:
            nonlocal state
            state, outcome = play_round(federation, engine, state)
            assert outcome.void is None, f"{outcome.void}: {dict(outcome.lost)}"
            return state.row

        yield Loop(step, sorted(children() - others))


def plain(plan: Plan) -> Generator[Loop]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "plan"
        place.write_bytes(pickle.dumps(plan))
        setup = (plain_flower.set_up, (str(place),))
        others = children()
        with closing(
            Simulation("plain_flower:app", len(plan.weights), WORKERS, setup)
        ) as simulation:
            played = plain_flower.rounds(simulation.start(), plan.module)

            def step() -> Tensor:
                found = next(played).to_torch_state_dict()
                return torch.cat([found[slot.name].reshape(-1) for slot in plan.layout.slots])

            yield Loop(step, sorted(children() - others))


def children() -> set[int]:
    here = os.getpid()
    return {
        int(process)
        for thread in os.listdir(f"/proc/{here}/task")
        for process in Path(f"/proc/{here}/task/{thread}/children").read_text().split()
    }


def on_ray(plan: Plan, rounds: int) -> Loop:
    """Play plain Flower on its own backend; what its processes spend is not known."""
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    loop = Loop(lambda: torch.empty(0), [])
    server = ServerApp()

    @server.main()  # type: ignore[untyped-decorator]
    def main(grid: Any, context: Any) -> None:
        played = plain_flower.rounds(grid, plan.module)
        for number in range(rounds + WARM):
            started = time.perf_counter()
            next(played)
            if number >= WARM:
                loop.seconds.append(time.perf_counter() - started)
                loop.cpu.append(math.nan)

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "plan"
        place.write_bytes(pickle.dumps(plan))
        os.environ[plain_flower.PLAN] = str(place)
        resources = {"num_cpus": 1, "num_gpus": 0.0}
        started = {"num_cpus": WORKERS, "include_dashboard": False}
        backend = {"init_args": started, "client_resources": resources}
        run_simulation(server, plain_flower.app, len(plan.weights), backend_config=backend)
    return loop


def measure(name: str, hospitals: int, rounds: int, *, masks: bool, ray: bool) -> dict[str, Loop]:
    plan = plan_of(name, hospitals)
    made = {"plain": plain(plan), "asepsis": ours(plan, ["mean"], rounds + WARM)}
    if masks:
        made["masks"] = ours(plan, MASKS, rounds + WARM)
    loops: dict[str, Loop] = {}
    try:
        loops.update({which: next(one) for which, one in made.items()})
        for number in range(rounds + WARM):
            order = list(loops.values())
            for loop in order if number % 2 else reversed(order):
                loop.play(warm=number < WARM)
            if number == 0:
                check(loops)
    finally:
        for one in made.values():
            one.close()
    return {**loops, "on ray": on_ray(plan, rounds)} if ray else loops


def check(loops: dict[str, Loop]) -> None:
    """Compare what all made of the first round; later, rounding errors grow with every step."""
    models = [loop.model for loop in loops.values() if loop.model is not None]
    for model in models[1:]:
        gap = float((model - models[0]).abs().max())
        assert gap < CLOSE, f"they do not play the same federation: {gap}"


def summary(name: str, hospitals: int, which: str, loop: Loop, beside: Loop) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(loop.seconds, n=4)
    cpu = statistics.median(loop.cpu)
    return {
        "model": name,
        "hospitals": hospitals,
        "which": which,
        "seconds": round(middle, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "ratio": round(middle / statistics.median(beside.seconds), 3),
        "cpu": round(cpu, 4),
        "cpu_ratio": round(cpu / statistics.median(beside.cpu), 3),
    }


HEAD = (
    f"{'model':<10} {'hospitals':>9}  {'':<8} {'seconds a round':>24} {'ratio':>6} "
    f"{'cpu':>7} {'ratio':>6}"
)


def line(row: dict[str, Any]) -> str:
    spread = f"{row['seconds']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"
    return (
        f"{row['model']:<10} {row['hospitals']:>9}  {row['which']:<8} {spread:>24} "
        f"{row['ratio']:>6} {row['cpu']:>7} {row['cpu_ratio']:>6}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--hospitals", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    quiet()
    torch.set_num_threads(1)
    if not told.json:
        print(HEAD)
    rows = []
    for name in told.models:
        for hospitals in told.hospitals:
            loops = measure(name, hospitals, told.rounds, masks=told.masks, ray=told.ray)
            for which, loop in loops.items():
                rows.append(summary(name, hospitals, which, loop, loops["plain"]))
                if not told.json:
                    print(line(rows[-1]), flush=True)
    if told.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
