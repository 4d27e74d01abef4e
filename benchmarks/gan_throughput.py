"""Training samples a second of the trainer `gan`, beside two bare PyTorch loops of the same steps.

Usage: python benchmarks/gan_throughput.py [--rounds 9] [--json]

One hospital with 256 images of 32 x 32, one local epoch in batches of 32: eight steps of the
critic and eight of the generator of `dcgan`, conditional, BCE, Adam with moments kept from epoch
to epoch. Ours includes what a round of federated training asks for: drawing the batches, loading
the received generator, making the row, taking the moments home. The first bare loop is the one
people write (NCHW, default Adam, `loss.backward()`), the second has our memory layout and
optimizer kernel (channels-last, fused Adam). All run on one thread; processor time is taken, so
that other work on the machine counts little. Epochs are interleaved; `x as written` and `x tuned`
are medians of the ratios within a turn, after two turns to warm up. Ratios hold within one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from asepsis.core.layout import Layout
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard
from asepsis.core.updates import State
from asepsis.models.gan import Gan
from asepsis.training.gan_trainer import GanTrainer

SAMPLES, BATCH, CLASSES, WARM_UP = 256, 32, 2, 2
LR, BETAS = 2e-4, (0.5, 0.999)
CASES = {"dcgan, gray": (1, 32, 32), "dcgan, color": (3, 32, 32)}


def network(shape: tuple[int, ...], *, channels_last: bool) -> Gan:
    with building_modules(0):
        module: Gan = build("model", "dcgan").build(shape, CLASSES)
    if channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module.train()


def images(shape: tuple[int, ...], *, channels_last: bool) -> Shard:
    draws = torch.Generator().manual_seed(0)
    inputs = torch.rand(SAMPLES, *shape, generator=draws) * 2 - 1
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return Shard(inputs.contiguous(memory_format=layout), torch.arange(SAMPLES) % CLASSES)


def ours(shape: tuple[int, ...]) -> Callable[[], None]:
    module, data = network(shape, channels_last=True), images(shape, channels_last=True)
    layout, task = Layout.of(module, ("critic.",)), build("task", "generation")
    trainer = GanTrainer(lr=LR, beta1=BETAS[0], beta2=BETAS[1], batch_size=BATCH)
    received, home = layout.flatten(module), State()
    rng = np.random.default_rng(0)

    def epoch() -> None:
        nonlocal received, home
        row, _, home = trainer.train_on(module, layout, received, data, task, rng, 1.0, home)
        received = received + row

    return epoch


def bare(shape: tuple[int, ...], *, tuned: bool) -> Callable[[], None]:
    module, data = network(shape, channels_last=tuned), images(shape, channels_last=tuned)
    generator, critic = module.generator, module.critic
    fused = True if tuned else None
    makers = torch.optim.Adam(generator.parameters(), lr=LR, betas=BETAS, fused=fused)
    judges = torch.optim.Adam(critic.parameters(), lr=LR, betas=BETAS, fused=fused)
    draws = torch.Generator().manual_seed(0)

    def epoch() -> None:
        for batch in torch.split(torch.randperm(SAMPLES, generator=draws), BATCH):
            real, labels = data.inputs[batch], data.targets[batch]
            column = labels[:, None]
            z = torch.randn(len(real), generator.z_dim, generator=draws)
            fake = generator(z, labels)
            judges.zero_grad()
            loss = F.softplus(-critic(real).gather(1, column)).mean()
            loss = loss + F.softplus(critic(fake.detach()).gather(1, column)).mean()
            torch.autograd.backward(loss)
            judges.step()
            makers.zero_grad()
            wanted = F.softplus(-critic(fake).gather(1, column)).mean()
            torch.autograd.backward(wanted)
            makers.step()

    return epoch


def measure(rounds: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for case, shape in CASES.items():
        loops = {
            "ours": ours(shape),
            "as written": bare(shape, tuned=False),
            "tuned": bare(shape, tuned=True),
        }
        times: dict[str, list[float]] = {loop: [] for loop in loops}
        for number in range(WARM_UP + rounds):
            for loop, epoch in loops.items():
                started = time.process_time()
                epoch()
                if number >= WARM_UP:
                    times[loop].append(time.process_time() - started)
        speed = {loop: SAMPLES / statistics.median(values) for loop, values in times.items()}
        found.append(
            {
                "case": case,
                **{f"{loop}, samples/s": round(value) for loop, value in speed.items()},
                "over_as_written": round(ratio(times["as written"], times["ours"]), 2),
                "over_tuned": round(ratio(times["tuned"], times["ours"]), 2),
            }
        )
    return found


def ratio(theirs: list[float], mine: list[float]) -> float:
    """Median of how much longer they take within a turn: the machine's load differs between."""
    return statistics.median(a / b for a, b in zip(theirs, mine, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    torch.set_num_threads(1)
    arguments = parser.parse_args()
    rows = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(rows))
        return
    names = ["ours", "as written", "tuned"]
    print(f"{'samples/s':<14}" + "".join(f"{name:>12}" for name in names), end="")
    print(f"{'x as written':>14}{'x tuned':>9}")
    for row in rows:
        speeds = "".join(f"{row[f'{name}, samples/s']:>12}" for name in names)
        print(f"{row['case']:<14}{speeds}{row['over_as_written']:>14}{row['over_tuned']:>9}")


if __name__ == "__main__":
    main()
