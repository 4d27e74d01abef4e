"""RMIA: does the released model favor a record more than it favors others like it?"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.attacks.infer.references import log_likelihood, references
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ReleaseView

PAIRS = 1 << 22
"""Pairs that are compared at once."""


def calibrated(released: Tensor, models: Tensor) -> Tensor:
    """Return ``log(p(x | released) / p(x))``, ``p(x)`` the mean over reference models ``[n]``.

    Log-likelihoods are ``released`` ``[n]`` and ``models`` ``[m, n]``.
    """
    mean = torch.logsumexp(models, dim=0) - float(np.log(len(models)))
    return released - mean


def dominance(mine: Tensor, population: Tensor, gamma: float) -> Tensor:
    """Return the share of the population that each is ``gamma`` times likelier than ``[n]``.

    Args:
        mine: calibrated log-likelihoods ``[n]``.
        population: those of the population ``[z]``.
        gamma: a ratio of likelihoods.

    Example:
        >>> dominance(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.9]), gamma=2.0).tolist()
        [0.5, 0.0]
    """
    bound = population + float(np.log(gamma))
    step = max(1, PAIRS // max(len(bound), 1))
    parts = [(part[:, None] >= bound).double().mean(dim=1) for part in torch.split(mine, step)]
    return torch.cat(parts)


@register("attack", "rmia")
class Rmia:
    """Membership inference by pairwise likelihood ratios over a population (RMIA).

    ``references`` models are trained as for ``lira``: on random halves of the candidates and of up
    to ``public`` public samples, every sample in exactly half of them, each a small federation of
    as many hospitals and rounds. ``p(x)`` is the mean over them of ``p(x | model)``, the
    probability of the true answer (several findings are one, multiplied; ``exp(-loss)`` for images
    put out), so that models with and without ``x`` count alike. With
    ``LR(x, z) = (p(x | released) / p(x)) / (p(z | released) / p(z))`` the score of ``x`` is the
    share of the population, the public samples, with ``LR(x, z) >= gamma``. Without public samples
    the candidates are the population.

    Returns evidence ``scores`` ``[n]`` in [0, 1]: a released model is everybody's. None without
    candidates.

    Source: Zarifzadeh, Liu and Shokri, Low-Cost High-Power Membership Inference Attacks, ICML
    2024, section 3 and algorithm 1 (online)

    Fidelity: own

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> Rmia(references=4).gamma
        2.0
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    references: Annotated[int, Field(ge=2, le=1024, multiple_of=2)] = 8
    rounds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    public: Annotated[int, Field(ge=0, le=100_000)] = 200
    gamma: Annotated[float, Field(ge=1, le=1e6)] = 2.0

    def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence | None:
        """Train reference models and score every candidate."""
        found = references(view, log_likelihood, self.references, self.rounds, self.public, rng)
        if found is None:
            return None
        ratios = calibrated(found.released, found.models)
        mine, others = ratios[: found.candidates], ratios[found.candidates :]
        scores = dominance(mine, others if len(others) else mine, self.gamma)
        measurements = {"references": float(self.references), "population": float(len(others))}
        return Evidence("membership", {"scores": scores}, measurements=measurements)
