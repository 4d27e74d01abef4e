"""Parameter smoothing: many noisy copies of a model vote, and what their vote withstands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asepsis.core.desk import BATCH, Network
from asepsis.core.errors import ConfigError
from asepsis.core.samples import Kind
from asepsis.defenses.release.certificate import (
    Setting,
    budget,
    certified_radius,
    certified_shift,
    vote_bounds,
)
from asepsis.defenses.release.noise import gaussian, possible


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """What M noisy copies answer to n inputs, and how certain that is.

    ``labels`` ``[n]`` are the smoothed model's answers. With probability at least 1 - alpha, for
    each input, the winner's probability is at least ``first`` and every other's at most
    ``second``. Where ``first <= second`` the smoothed model abstains: nothing is certified.
    """

    labels: NDArray[np.int64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    std: float

    def budgets(self) -> NDArray[np.float64]:
        """Return the divergence that each vote withstands ``[n]``."""
        return self._each(budget)

    def shifts(self) -> NDArray[np.float64]:
        """Return how far the model may be moved before smoothing ``[n]``: for any network."""
        return self._each(lambda a, b: certified_shift(a, b, self.std))

    def radii(self, setting: Setting) -> NDArray[np.float64]:
        """Return the norm of the trigger that each vote withstands ``[n]``, in a setting."""
        return self._each(lambda a, b: certified_radius(a, b, setting))

    def accuracy(self, targets: NDArray[np.int64], radii: NDArray[np.float64], at: float) -> float:
        """Return the share of inputs answered rightly and certified to withstand ``at``."""
        certain = (self.first > self.second) & (radii >= at)
        return float(((self.labels == targets) & certain).mean())

    def _each(self, of: object) -> NDArray[np.float64]:
        assert callable(of)
        pairs = zip(self.first.tolist(), self.second.tolist(), strict=True)
        return np.array([of(a, b) for a, b in pairs], dtype=np.float64)


def smoothed_votes(
    network: Network,
    center: Tensor,
    inputs: Tensor,
    *,
    std: float,
    copies: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Count how many of ``copies`` models ``center + N(0, std^2 I)`` answer each class ``[n, k]``.

    Raises:
        ConfigError: a sample of the task may have several labels, or none: there is no one vote.
    """
    if network.task.kinds & {Kind.MULTILABEL_IMAGE, Kind.PAIRED_IMAGE}:
        raise ConfigError(
            "a smoothed vote needs one label a sample",
            place="crfl",
            got=sorted(network.task.kinds),
            fix="certify a single-label task",
        )
    votes = np.zeros((len(inputs), network.classes), dtype=np.int64)
    everyone = np.arange(len(inputs))
    module = network.at(center)
    for _ in range(copies):
        noisy = center.double() + gaussian(rng, center, std)
        network.layout.load(module, possible(noisy, network.layout))
        votes[everyone, _answers(network, module, inputs)] += 1
    return votes


def _answers(network: Network, module: nn.Module, inputs: Tensor) -> NDArray[np.int64]:
    with torch.no_grad():
        outputs = torch.cat([module(block) for block in torch.split(inputs, BATCH)])
    answers: NDArray[np.int64] = network.task.probabilities(outputs).argmax(dim=1).cpu().numpy()
    return answers


def certify(
    network: Network,
    center: Tensor,
    inputs: Tensor,
    *,
    std: float,
    copies: int,
    alpha: float,
    rng: np.random.Generator,
) -> Certificate:
    """Let noisy copies of the model ``center`` ``[d]`` vote on inputs, and bound their vote."""
    votes = smoothed_votes(network, center, inputs, std=std, copies=copies, rng=rng)
    labels, first, second = vote_bounds(votes, alpha)
    return Certificate(labels, first, second, std)
