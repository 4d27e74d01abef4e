"""LiRA: is the released model's confidence that of models that saw the record, or that did not?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.attacks.infer.references import logit_confidence, references
from asepsis.core.registry import register
from asepsis.core.samples import Array, Kind
from asepsis.core.threat import Evidence, ReleaseView

SMALLEST = 1e-12

Variance = Literal["global", "per-example"]


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """A normal distribution for each sample: mean ``[n]`` and variance ``[n]``."""

    mean: Tensor
    variance: Tensor

    def log_density(self, values: Tensor) -> Tensor:
        """Return the log-density, less the constant that all share."""
        return -0.5 * ((values - self.mean).square() / self.variance + self.variance.log())


def fitted(values: Tensor, mask: Tensor, variance: Variance) -> Normal:
    """Fit a normal distribution to the masked values ``[models, n]`` of every sample.

    Variances have ddof 1; ``global`` takes their mean over samples for all.
    """
    count = mask.sum(dim=0)
    mean = (values * mask).sum(dim=0) / count
    spread = ((values - mean).square() * mask).sum(dim=0) / (count - 1)
    if variance == "global":
        spread = spread.mean().expand_as(spread)
    return Normal(mean, spread.clamp_min(SMALLEST))


def likelihood_ratio(released: Tensor, models: Tensor, inside: Array, variance: Variance) -> Tensor:
    """Return ``log N(c; mu_in, s_in²) - log N(c; mu_out, s_out²)`` of every sample ``[n]``."""
    mask = torch.from_numpy(inside).to(models.device)
    seen, unseen = fitted(models, mask, variance), fitted(models, ~mask, variance)
    return seen.log_density(released) - unseen.log_density(released)


@register("attack", "lira")
class Lira:
    """Membership inference by likelihood ratio against shadow models (online LiRA).

    ``shadows`` models are trained on random halves of the candidates and of up to ``public``
    public samples, every sample in exactly half of them. Each is a small federation of its own:
    the half is shared among as many hospitals as the cohort has, which train by the protocol and
    are averaged, for ``rounds`` rounds (as many as were played when left out). The confidence of a
    sample is ``c = log(p_y / (1 - p_y))``, where several findings are one answer whose
    probabilities are multiplied; minus the loss for images put out. With normal distributions
    fitted to the shadow models that saw a sample and to those that did not, the score is
    ``log N(c; mu_in, s_in²) - log N(c; mu_out, s_out²)``, ``c`` of the released model.
    ``variance = "global"`` (better with fewer than 64 shadows) takes the mean variance over
    samples; variances have ddof 1.

    Returns evidence ``scores`` ``[n]``: a released model is everybody's. None without candidates.

    Source: Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022,
    algorithm 1 and sections VI-A (global variance) and VI-B

    Fidelity: own

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> Lira(shadows=8).variance
        'global'
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    shadows: Annotated[int, Field(ge=4, le=1024, multiple_of=2)] = 16
    rounds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    public: Annotated[int, Field(ge=0, le=100_000)] = 200
    variance: Variance = "global"

    def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence | None:
        """Train shadow models and score every candidate."""
        found = references(view, logit_confidence, self.shadows, self.rounds, self.public, rng)
        if found is None:
            return None
        scores = likelihood_ratio(found.released, found.models, found.inside, self.variance)
        guesses = {"scores": scores[: found.candidates]}
        return Evidence("membership", guesses, measurements={"shadows": float(self.shadows)})
