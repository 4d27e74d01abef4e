"""LFighter: two clusters of output neurons; the more diverse one stays."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Rows, Screened, State
from asepsis.defenses.clustering import k_means, silhouette
from asepsis.defenses.given import check_layout, given
from asepsis.defenses.head import Head
from asepsis.defenses.screen.dropping import dropping

Table = NDArray[np.float64]

_TINY = np.finfo(np.float64).tiny


def busiest(weights: Table, biases: Table) -> NDArray[np.int64]:
    """Return the two classes whose output neurons changed most, over all rows together.

    ``weights`` ``[n, classes, width]``, ``biases`` ``[n, classes]``; of equal ones the lower
    class. With two classes or fewer, all of them.

    Example:
        >>> weights = np.array([[[0.0], [3.0], [1.0]], [[0.0], [-3.0], [2.0]]])
        >>> busiest(weights, np.zeros((2, 3))).tolist()
        [1, 2]
    """
    change = np.linalg.norm(weights, axis=-1).sum(axis=0) + np.abs(biases).sum(axis=0)
    return np.sort(np.argsort(-change, kind="stable")[:2])


def density(points: Table, total: int) -> float:
    """Return ``n / total (1 - mean_i min(0, min_j cos_ij))`` for the n points of a cluster.

    The inner minimum runs over the other points. The zero in it is what the authors' code has on
    the diagonal: a point alone has the density ``1 / total``, as have points that agree.

    Example:
        >>> density(np.array([[1.0, 0.0], [2.0, 0.0]]), 4)
        0.5
        >>> density(np.array([[1.0, 0.0], [-1.0, 0.0]]), 4)
        1.0
    """
    units = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), _TINY)
    cosines = (units[:, None, :] * units[None, :, :]).sum(axis=-1)
    np.fill_diagonal(cosines, 0.0)
    return float(len(points) / total * (1.0 - cosines.min(axis=1).mean()))


@register("screen", "lfighter")
class LFighter:
    """Drop the less dense of two clusters of output-layer updates, if there are two (LFighter).

    For the output layer's part of x ``[n, d]`` (weights ``[n, classes, width]``): the score of a
    class is the sum over rows of the norm of its neuron's change, weights and bias; the weights of
    the two classes with the highest scores (of all, where there are two) are split by 2-means;
    cluster k has density ``n_k / n (1 - mean_i min(0, min_j cos_ij))``, and the denser one goes
    on (of equal ones, that with the lowest client id). Claimed counts pass through.

    The published method drops one cluster in every round, attacked or not: ``gate = -1``. Else
    both go on unless the mean silhouette of the two exceeds ``gate``. Where nobody attacks and
    nobody is unusual, it exceeds 0.5 in 6, 0 and 0 % of the rounds in cohorts of 4, 10 and 30;
    without the gate, 37, 33 and 33 % of the rows are dropped. ``scores`` are distances to the
    mean of the denser cluster, relative to the largest. Fewer than three rows, and rows that are
    all alike, pass.

    Measured without attack (digits, 40 samples a hospital, 12 rounds, 3 seeds): an honest hospital
    with one class only is dropped in 81, 89 and 81 % of the rounds in cohorts of
    4, 10 and 30; ordinary ones in 0, 0 and 0 %.

    Raises ``ConfigError`` without a layout that fits the rows, or for a model without an output
    layer.

    Source: Jebreel et al., LFighter: Defending against the Label-flipping Attack in Federated
    Learning (Neural Networks 170, 2024; arXiv 2207.01982); the gate is ours.

    Fidelity: code

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from asepsis.core.layout import Layout
        >>> from asepsis.defenses.call import aggregate
        >>> honest, flipped = torch.tensor([1.0, -1.0, 0.2]), torch.tensor([-1.0, 1.0, 0.2])
        >>> rows = torch.stack([honest, 1.1 * honest, 0.9 * honest, flipped])
        >>> layout = Layout.of(nn.Linear(1, 3, bias=False))
        >>> aggregate(rows, ["lfighter", "mean"], layout=layout).round(decimals=3)
        tensor([ 1.0000, -1.0000,  0.2000])
    """

    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    needs: ClassVar[frozenset[str]] = frozenset({"head", "layout"})
    why: ClassVar[str] = "its output layer was in the less dense cluster"

    gate: Annotated[float, Field(ge=-1, le=1)] = 0.5

    def rows_left(self, rows: int) -> int:
        """Return how many rows are left at most: without the gate, a cluster goes every time."""
        return rows - 1 if self.gate <= -1 and rows > 2 else rows

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Screen one round's rows."""
        points, classes = self._features(delivery.rows, context)
        labels = k_means(points, 2) if len(points) > 2 else np.zeros(len(points), np.int64)
        apart = silhouette(points, labels)
        groups = [points[labels == label] for label in range(int(labels.max(initial=0)) + 1)]
        densities = [density(group, len(points)) for group in groups]
        best = int(np.argmax(densities))
        split = len(groups) > 1 and (self.gate <= -1 or apart > self.gate)
        distance = np.linalg.norm(points - groups[best].mean(axis=0), axis=1)
        measurements = {
            "silhouette": apart,
            "gate_open": float(split),
            **{f"class_{place}": float(name) for place, name in enumerate(classes)},
        }
        keep = (labels == best) if split else np.ones(len(points), bool)
        scores = distance / max(float(distance.max()), _TINY)
        return state, dropping("lfighter", delivery, keep, scores, measurements)

    def _features(self, rows: Rows, context: ServerContext) -> tuple[Table, list[int]]:
        layout = given(context.layout, "layout", "lfighter")
        check_layout(layout, rows.shape[1], "lfighter")
        head = Head.of(layout)
        weights, biases = head.weights(rows), head.biases(rows)
        classes = busiest(weights, biases)
        points = weights[:, classes].reshape(len(weights), -1)
        return points, [int(name) for name in classes]
