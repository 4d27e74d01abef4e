"""Differentially private SGD at every hospital: the unit is one record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.contracts import Task
from asepsis.core.layout import Layout
from asepsis.core.privacy import Accountant, PrivacyClaim, PrivacyFacts
from asepsis.core.registry import register
from asepsis.core.samples import Shard
from asepsis.core.workshop import Recipe
from asepsis.metrics.privacy import epsilon
from asepsis.training.batches import step_count
from asepsis.training.per_sample import check_model, clipped_sum, watched
from asepsis.training.sgd import Count, NonNegative, Positive, Share, delta_scale

ASSUMES = (
    "every hospital's number of samples is public: it sets the sample rate, the steps and the "
    "weight that is claimed",
    "scaling and class weights that the task fits to training samples are public",
    "the noise is a simulator's, not a cryptographic generator's",
)


def sampled(
    samples: int, rate: float, steps: int, rng: np.random.Generator
) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Yield which samples are in each step: every one by itself, with chance ``rate``.

    Example:
        >>> rng = np.random.Generator(np.random.Philox(1))
        >>> [len(chosen) for chosen in sampled(100, 0.5, 3, rng)]
        [53, 46, 38]
    """
    for _ in range(steps):
        yield np.flatnonzero(rng.random(samples) < rate)


@register("trainer", "dp-sgd")
class DpSgd:
    """Local SGD that bounds what one record can change: clipped gradients and Gaussian noise.

    Every step takes each of the hospital's n records by itself with chance
    ``q = min(1, batch_size / n)`` (Poisson) and moves by
    ``g = (sum_i g_i min(1, clip / |g_i|) + N(0, (noise_multiplier clip)^2 I)) / (q n)``;
    ``v <- momentum v + g + weight_decay w;  w <- w - lr v``. An empty step moves by noise alone.
    The row ``[d]`` is local minus received and holds parameters only, all of them noised: networks
    with BatchNorm or buffers are refused. **No telemetry** is sent: a training loss would be exact.
    Neighbors differ by one record; nobody but the own hospital is trusted. Epsilon is counted by
    ``accountant`` over all local steps of all rounds, at ``delta``; the claim holds the hospital
    with the largest, beside it the others and patients with several records (``q_k = 1 - (1 -
    q)^k``, ``sigma / k``). The number of samples, which is claimed as weight, is assumed public.

    Raises ConfigError for a network that does not fit, MissingExtraError without Opacus.

    Source: Abadi et al., Deep Learning with Differential Privacy, CCS 2016, algorithm 1; Poisson
    sampling and accounting as in Opacus

    Fidelity: paper

    Example:
        >>> DpSgd(noise_multiplier=4.0).rate(3200)
        0.01
    """

    telemetry: ClassVar[tuple[str, ...]] = ()

    lr: Positive = 0.05
    momentum: Share = 0.0
    weight_decay: NonNegative = 0.0
    batch_size: Count = 32
    epochs: Count = 1
    steps: Count | None = None
    clip: Positive = 1.0
    noise_multiplier: NonNegative = 1.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    accountant: Accountant = "rdp"

    def check_model(self, module: nn.Module, layout: Layout) -> None:
        """Refuse a network whose samples cannot be told apart."""
        check_model(module, layout)

    def train(
        self,
        module: nn.Module,
        layout: Layout,
        received: Tensor,
        shard: Shard,
        task: Task,
        rng: np.random.Generator,
        work: float,
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Train and return the row; there is no telemetry."""
        layout.load(module, received)
        module.train()
        drawn = self.drawn(len(shard), work, rng)
        noise = torch.Generator(shard.inputs.device)
        noise.manual_seed(int(rng.integers(2**63)))
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        velocity = [torch.zeros_like(weight) for weight in weights]
        with watched(module) as wrapped:
            for where in drawn:
                at = where.to(shard.inputs.device)
                part = Shard(shard.inputs[at], shard.targets[at])
                gradients = self._gradients(wrapped, task, part, len(shard), noise)
                self._move(weights, gradients, velocity)
        return layout.flatten(module).sub_(received), {}

    def _gradients(
        self, module: nn.Module, task: Task, part: Shard, samples: int, noise: torch.Generator
    ) -> list[Tensor]:
        """Return one step's noisy gradient, over the expected size of a batch."""
        found = clipped_sum(module, task, part.inputs, part.targets, self.clip)
        std, expected = self.noise_multiplier * self.clip, self.rate(samples) * samples
        return [
            (each + std * torch.randn(each.shape, generator=noise, device=each.device)) / expected
            for each in found
        ]

    @torch.no_grad()
    def _move(
        self, weights: list[nn.Parameter], gradients: list[Tensor], velocity: list[Tensor]
    ) -> None:
        for weight, gradient, speed in zip(weights, gradients, velocity, strict=True):
            speed.mul_(self.momentum).add_(gradient).add_(weight, alpha=self.weight_decay)
            weight.sub_(speed, alpha=self.lr)

    def rate(self, samples: int) -> float:
        """Return the chance of every record to be in a step."""
        return min(1.0, self.batch_size / samples)

    def _steps(self, samples: int, work: float = 1.0) -> int:
        return ceil(work * step_count(samples, self.batch_size, self.epochs, self.steps))

    def gradient_scale(self, samples: int) -> float:
        """Return how much of an average gradient a delta holds."""
        return delta_scale(self.lr, self.momentum, self._steps(samples))

    def recipe(self, samples: int, work: float = 1.0) -> Recipe:
        """Return what a hospital with so many samples is told to do."""
        steps = self._steps(samples, work)
        return Recipe(self.lr, self.momentum, self.weight_decay, self.batch_size, steps)

    def drawn(self, samples: int, work: float, rng: np.random.Generator) -> list[Tensor]:
        """Return which samples every local step uses, drawn as training draws them."""
        chosen = sampled(samples, self.rate(samples), self._steps(samples, work), rng)
        return [torch.from_numpy(where) for where in chosen]

    @property
    def batch(self) -> int:
        """Expected samples in a local batch."""
        return self.batch_size

    def privacy(self, facts: PrivacyFacts) -> PrivacyClaim:
        """Return what is promised to one record, hospital by hospital, and to one patient."""
        made = [self._claim(facts, hospital, 1) for hospital in sorted(facts.samples)]
        several = [h for h in sorted(facts.records) if facts.records[h] > 1]
        patients = [self._claim(facts, hospital, facts.records[hospital]) for hospital in several]
        made.sort(key=lambda claim: claim.epsilon, reverse=True)
        worst = made[0]
        return replace(worst, also=(*made[1:], *patients))

    def _claim(self, facts: PrivacyFacts, hospital: int, records: int) -> PrivacyClaim:
        samples = facts.samples[hospital]
        rounds = facts.rounds if facts.trained is None else facts.trained[hospital]
        rate, steps = self.rate(samples), rounds * self._steps(samples)
        spent = epsilon(
            noise_multiplier=self.noise_multiplier,
            sample_rate=rate,
            steps=steps,
            delta=self.delta,
            accountant=self.accountant,
            records=records,
        )
        return PrivacyClaim(
            mechanism="dp-sgd",
            unit="record" if records == 1 else f"patient of up to {records} records",
            neighbors="add or remove one",
            trust="local",
            sampling="poisson" if rate < 1 else "all",
            accountant=self.accountant,
            epsilon=spent,
            delta=self.delta,
            noise_multiplier=self.noise_multiplier,
            sample_rate=rate,
            steps=steps,
            hospital=hospital,
            assumes=ASSUMES,
        )
