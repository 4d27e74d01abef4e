"""Shadow hospitals: updates of hospitals whose shares of classes are known, simulated at home."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asepsis.core.samples import Array, Shard
from asepsis.core.threat import Learner
from asepsis.metrics.inference import indicator

STRENGTHS = 10.0 ** np.arange(-4, 5)


@dataclass(frozen=True, slots=True, eq=False)
class Tilt:
    """A hospital drawn from public samples: which it has ``[n]``, and its shares ``[classes]``."""

    chosen: Array
    shares: Array


def tilted(truth: Array, size: int, spread: float, rng: np.random.Generator) -> Tilt:
    """Draw a hospital of ``size`` samples in which classes are as frequent as chance wants.

    Samples are drawn with replacement, with odds ``exp(sum_c a_c truth_c)`` and ``a_c ~ N(0,
    spread²)``: that changes shares of classes and of findings alike, and leaves what samples of
    one class look like as it is.

    Args:
        truth: 0 or 1, ``[m, classes]``.
        size: how many samples.
        spread: how far shares are from the public ones; 0 draws them as they are.
        rng: the draws' generator.
    """
    odds = np.exp(truth @ rng.normal(0.0, spread, truth.shape[1]))
    chosen = rng.choice(len(truth), size=size, p=odds / odds.sum())
    return Tilt(chosen, truth[chosen].mean(axis=0))


def shadow_updates(
    learner: Learner,
    sent: Tensor,
    public: Shard,
    sizes: list[int],
    spread: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Array]:
    """Train one shadow hospital of each size from the model sent; updates and true shares.

    Returns:
        Updates ``[s, d]`` (local minus sent) and shares ``[s, classes]``.
    """
    truth = indicator(public.targets.cpu().numpy(), learner.classes)
    rows, shares = [], []
    for size in sizes:
        tilt = tilted(truth, size, spread, rng)
        where = torch.from_numpy(tilt.chosen)
        shard = Shard(public.inputs[where], public.targets[where])
        rows.append(learner.fit(sent, shard, rng) - sent)
        shares.append(tilt.shares)
    return torch.stack(rows), np.stack(shares)


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """Ridge regression from features ``[n, f]`` to answers ``[n, k]``, intercept included."""

    center: Array
    scale: Array
    mean: Array
    weights: Array

    @classmethod
    def fit(cls, features: Array, answers: Array) -> Ridge:
        """Fit, with the strength that predicts left-out rows best.

        Features are standardized; those that do not vary count for nothing. The error of row i
        left out is ``(residual / (1 - H))_ii`` in closed form, ``H`` the hat matrix.
        """
        center, spread = features.mean(axis=0), features.std(axis=0)
        scale = np.where(spread > 1e-12 * (1 + np.abs(center)), spread, np.inf)
        x, mean = (features - center) / scale, answers.mean(axis=0)
        left, values, right = np.linalg.svd(x, full_matrices=False)
        y = left.T @ (answers - mean)
        best = min(
            (_left_out(left, values, y, answers - mean, s), i) for i, s in enumerate(_grid(x))
        )[1]
        shrink = values / (values**2 + _grid(x)[best])
        return cls(center, scale, mean, right.T @ (shrink[:, None] * y))

    def predict(self, features: Array) -> Array:
        """Return the answers ``[n, k]`` to features ``[n, f]``."""
        return np.asarray(self.mean + (features - self.center) / self.scale @ self.weights)


def _grid(x: Array) -> Array:
    return np.asarray(STRENGTHS * max(1.0, float((x**2).sum()) / max(1, len(x))))


def _left_out(left: Array, values: Array, y: Array, answers: Array, strength: float) -> float:
    keep = values**2 / (values**2 + strength)
    hat = (left**2 * keep).sum(axis=1) + 1 / len(left)
    residual = answers - left @ (keep[:, None] * y)
    return float(((residual / np.maximum(1 - hat, 1e-9)[:, None]) ** 2).mean())
