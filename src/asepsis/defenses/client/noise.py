"""Noise at home: the server never sees an update without it."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.privacy import Accountant, PrivacyClaim, PrivacyFacts
from asepsis.core.registry import register
from asepsis.core.stages import Home
from asepsis.defenses.client.bound import bound_of, shortened
from asepsis.metrics.privacy import epsilon

ASSUMES = (
    "every hospital's number of samples and the rounds that it takes part in are public",
    "scaling and class weights that the task fits to training samples are public",
    "the noise is a simulator's, not a cryptographic generator's",
)


@register("client", "client-noise")
class ClientNoise:
    """Clip a hospital's own update and add Gaussian noise to it before it leaves.

    ``x <- x min(1, C / |x|) + N(0, (noise_multiplier C)^2 / parties I)`` over the whole row
    ``[d]``, buffers and 0-dim tensors included, with ``C`` as in ``client-clip``. With ``parties``
    = 1 each update is protected by itself (trust: local). With more, so many honest hospitals
    together make up the noise, and only their sum may be seen (trust: distributed): that needs an
    unweighted secure sum behind, and each hospital that drops out or lies takes its share of noise
    away: the promise counts the fewest honest ones that answered in any round. No
    telemetry leaves. Neighbors replace all of one hospital's data, which moves a row by up to 2 C:
    the accountant is given half the noise multiplier, and no amplification.

    Raises ConfigError for a cohort smaller than ``parties``.

    Source: Dwork and Roth, The Algorithmic Foundations of Differential Privacy (2014), Appendix A;
    shares of noise: Kairouz et al., The Distributed Discrete Gaussian Mechanism (ICML 2021), here
    continuous.

    Fidelity: own

    Example:
        >>> ClientNoise(noise_multiplier=4.0).parties
        1
    """

    silent: ClassVar[bool] = True
    enlarges: ClassVar[bool] = True

    noise_multiplier: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    max_norm: Annotated[float, Field(gt=0)] | None = None
    parties: Annotated[int, Field(ge=1)] = 1
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    accountant: Accountant = "rdp"

    def check_cohort(self, size: int) -> None:
        """Refuse fewer hospitals than the noise was shared out to."""
        if size < self.parties:
            raise ConfigError(
                "too few hospitals answer to make up the noise",
                place="client-noise.parties",
                got=self.parties,
                fix=f"use at most {size}",
            )

    def protect(
        self, row: Tensor, home: Home, rng: np.random.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Return the clipped and noised row; there is no telemetry."""
        bound, std = self.bounds(home.told)
        made, _ = shortened(row, bound)
        noise = torch.from_numpy(rng.normal(0.0, std, len(row))).to(row.device)
        return (made.double() + noise).to(row.dtype), {}

    def bounds(self, told: Mapping[str, float] | None = None) -> tuple[float, float]:
        """Return the bound on a row's norm, and the standard deviation of one share of noise."""
        bound = bound_of(self.max_norm, told or {})
        return bound, self.noise_multiplier * bound / sqrt(self.parties)

    def privacy(self, facts: PrivacyFacts) -> PrivacyClaim:
        """Return what is promised to one hospital over all rounds that it took part in."""
        trained = facts.trained or {}
        steps = max(trained.values(), default=facts.rounds)
        there = self.parties if facts.honest is None else min(facts.honest, self.parties)
        left = self.noise_multiplier / 2 * sqrt(there / self.parties)
        spent = epsilon(
            noise_multiplier=left,
            sample_rate=1.0,
            steps=steps,
            delta=self.delta,
            accountant=self.accountant,
        )
        return PrivacyClaim(
            mechanism="client-noise",
            unit="hospital",
            neighbors="replace all data of one",
            trust="local" if self.parties == 1 else "distributed",
            sampling="all",
            accountant=self.accountant,
            epsilon=spent,
            delta=self.delta,
            noise_multiplier=left,
            sample_rate=1.0,
            steps=steps,
            assumes=ASSUMES if self.parties == 1 else (*ASSUMES, *self._shared(there)),
        )

    def _shared(self, there: int) -> tuple[str, ...]:
        """Say on whom shared noise rests, and who was there."""
        rests = f"at least {there} hospitals answer honestly and only their sum is seen"
        few = f"only {there} of {self.parties} shares of noise were there in some round"
        return (rests,) if there == self.parties else (rests, few)
