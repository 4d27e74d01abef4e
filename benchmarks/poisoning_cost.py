"""A malicious hospital's time in a round beside its honest local training, in one run.

Usage: python benchmarks/poisoning_cost.py [--rounds 7] [--epochs 2] [--only NAME ...] [--json]

Every attack that trains in its own way, and `badnets`, with their default options, `small-cnn`,
one hostile hospital of eight with 200 images of 28 x 28 that trains for so many local epochs in
batches of 32 (two epochs are 14 steps, so one gradient more is 7 %). Timed is its whole training
and what it then does to its row. Poisoned samples are made once before the first round and are not
timed. All run on one thread and their processor time is taken, so that other work on the machine
counts little. Rounds of all attacks and of honest training are interleaved. `x honest` is the
median ratio within a round, after three warm-up rounds; `first` is that of the first round alone,
in which some attacks craft what they send from then on, and others only watch.
Ratios hold within one run only. The goal is 1.10 where the method allows it: where it asks for
hardly more than the protocol's own steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from asepsis.core.contracts import Attack, BackdoorAttack
from asepsis.core.engine import Job
from asepsis.core.registry import build, entries, lookup
from asepsis.core.rng import Streams
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples
from asepsis.core.threat import Sees, ThreatModel
from asepsis.core.updates import State
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation import hostile
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation, Schedule
from asepsis.federation.parts import Parts

HOSPITALS, SAMPLES, BATCH, WARM_UP = 8, 200, 32, 3
CHEAP = {
    "badnets": "the protocol's steps on other data",
    "model-replacement": "the same, scaled",
    "neurotoxin": "one clean batch more",
}
"""Methods that allow the goal, and why; the others optimize more than the protocol does."""


def samples(n: int, seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    ids = np.arange(n)
    images = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
    return Samples(images, rng.integers(3, size=n), ids, ids)


def federation(attack: Attack | None, epochs: int) -> Federation:
    made, _ = assemble(
        Parts(
            facts=DataFacts(Kind.IMAGE, ("a", "b", "c")),
            hospitals=tuple(
                Hospital(i, f"h{i}", samples(SAMPLES, i), samples(8, 50 + i), samples(8, 90 + i))
                for i in range(HOSPITALS)
            ),
            task=build("task", "classification"),
            model=build("model", "small-cnn"),
            trainer=build("trainer", {"name": "sgd", "epochs": epochs, "batch_size": BATCH}),
            pipeline=build_pipeline(["mean"]),
            server=build("server-optimizer", "fedavg"),
            threat=ThreatModel(clients=(1,), sees=Sees.OWN),
            attack=attack,
            schedule=Schedule(rounds=1000),
            streams=Streams(0),
        )
    )
    return made


def by_protocol(attack: Attack | None, shard: str, epochs: int) -> Callable[[int], None]:
    """Return a round of the hospital's training as the protocol asks for it."""
    made = federation(attack, epochs)
    engine = make_engine("serial")
    engine.start(made.plan)
    received = made.begin().row
    return lambda round_: void(engine.train(received, [Job(1, round_, shard)]))


def by_attack(attack: Attack, epochs: int) -> Callable[[int], None]:
    """Return a round of the hospital's training and crafting as the attack does it."""
    made = federation(attack, epochs)
    state, cohort = State(), made.cohort(0)
    known = made.facts_of(0, cohort, made.begin().row)

    def round_(number: int) -> None:
        nonlocal state
        facts = replace(known, round=number)
        state, replies, _ = hostile.train(made, state, cohort, (1,), facts, {})
        state, _, _ = hostile.craft(made, state, replies, (1,), facts, {})

    return round_


def void(_: object) -> None:
    """Return nothing."""


def attacks(only: list[str], epochs: int) -> dict[str, Callable[[int], None]]:
    """Return a round of every attack that can poison images while it trains."""
    made = {"badnets": by_protocol(build("attack", "badnets"), "poisoned", epochs)}
    for entry in entries("attack"):
        wanted = not only or entry.name in only
        if wanted and hasattr(lookup("attack", entry.name), "train"):
            attack: BackdoorAttack = build("attack", entry.name)
            if Kind.IMAGE in attack.kinds:
                made[entry.name] = by_attack(attack, epochs)
    return made


def measure(rounds: int, epochs: int, only: list[str]) -> list[dict[str, object]]:
    loops = {"honest": by_protocol(None, "clean", epochs), **attacks(only, epochs)}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(WARM_UP + rounds):
        for name, round_ in loops.items():
            started = time.process_time()
            round_(number)
            times[name].append(time.process_time() - started)
    honest = times.pop("honest")
    ratios = {name: paired(mine[WARM_UP:], honest[WARM_UP:]) for name, mine in times.items()}
    return [
        {
            "attack": name,
            "milliseconds": round(1000 * statistics.median(times[name][WARM_UP:]), 1),
            "over_honest": round(ratio, 2),
            "first_over_honest": round(times[name][0] / statistics.median(honest), 2),
            "why_cheap": CHEAP.get(name),
        }
        for name, ratio in sorted(ratios.items(), key=lambda item: item[1])
    ]


def paired(mine: list[float], theirs: list[float]) -> float:
    """Median of the ratios within a round: the machine's load differs between rounds."""
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--json", action="store_true")
    torch.set_num_threads(1)  # idle threads that spin would count as work
    asked = parser.parse_args()
    rows = measure(asked.rounds, asked.epochs, asked.only)
    if asked.json:
        print(json.dumps(rows))
        return
    print(f"{'attack':<26} {'ms':>8} {'x honest':>9} {'first':>8}  where 1.10 is the goal")
    for row in rows:
        print(
            f"{row['attack']:<26} {row['milliseconds']:>8} {row['over_honest']:>9} "
            f"{row['first_over_honest']:>8}  {row['why_cheap'] or ''}"
        )


if __name__ == "__main__":
    main()
