"""DeepSight: look into the models, cluster them, drop clusters trained on too uniform data."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Rows, Screened, State
from asepsis.defenses.clustering import cosine_distances, dense_clusters
from asepsis.defenses.given import check_layout, given
from asepsis.defenses.head import Head, columns
from asepsis.defenses.screen.dropping import dropping
from asepsis.defenses.screen.model_traits import division_differences, energies, exceedings
from asepsis.defenses.screen.norm_clip import scaled

Table = NDArray[np.float64]
Mask = NDArray[np.bool_]


def apart(labels: NDArray[np.int64]) -> Table:
    """Return 0 for pairs in one cluster and 1 for others ``[n, n]``; rows in none are alone."""
    together = (labels[:, None] == labels) & (labels[:, None] >= 0)
    np.fill_diagonal(together, True)
    return np.asarray(1.0 - together, np.float64)


def poisoned(labels: NDArray[np.int64], suspicious: Mask, share: float) -> Mask:
    """Return which rows are in a cluster of which ``share`` or more are suspicious ``[n]``.

    A row in no cluster stands for itself.

    Example:
        >>> poisoned(np.array([0, 0, 0, -1]), np.array([True, False, False, True]), 0.5).tolist()
        [False, False, False, True]
    """
    bad = suspicious.copy()
    for label in range(int(labels.max(initial=-1)) + 1):
        inside = labels == label
        bad[inside] = suspicious[inside].mean() >= share
    return bad


@register("screen", "deepsight")
class DeepSight:
    """Drop clusters of local models that were trained on too uniform data, clip the rest.

    (1) From the output layer's part of x ``[n, d]``: normalized update energies (NEUPs) and their
    threshold exceedings; a row is suspicious where these are at most half their median (and below
    it). (2) HDBSCAN on NEUPs, on the cosine distances of the biases' updates (of the weights',
    where there is no bias) and on division differences over ``seeds`` sets of ``samples`` random
    inputs, uniform in [0, 1]; every clustering gives pairs a distance of 0 (same cluster) or 1;
    those of the seeds are averaged, then the three kinds, and HDBSCAN clusters again. (3) A final
    cluster goes where ``share`` or more of its rows are suspicious; a row in no cluster is judged
    for itself. (4) Rows that stay are clipped to the median of all n norms. Claimed counts pass
    through. ``scores`` are 1 - exceedings / classes.

    The paper takes 20,000 inputs a set; 512 cost a fortieth. ``cluster`` is HDBSCAN's smallest
    cluster and its number of neighbors plus one: the package's 5 leaves three hostile hospitals
    of ten without a cluster. Where the others are alike, a lone row is judged with them: HDBSCAN,
    which is not allowed a single cluster before the last step, then finds none.

    Measured without attack (digits, 40 samples a hospital, 12 rounds, 3 seeds): an honest hospital
    with one class only is dropped in 3, 0 and 67 % of the rounds in cohorts of
    4, 10 and 30; ordinary ones in 3, 2 and 3 %.

    Raises ``ConfigError`` without layout (one that fits the rows), network or received model,
    ``QuorumError`` where every row goes.

    Source: Rieger et al., DeepSight: Mitigating Backdoor Attacks in Federated Learning Through
    Deep Model Inspection (NDSS 2022), Sections IV and V.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> from asepsis.testing.cohorts import desk
        >>> rows, has = torch.tensor([[1.0, 2.0, 2.0, 1.0, 0.1, 0.2]]).repeat(4, 1), desk(6)
        >>> what = {"received": has.received, "layout": has.layout, "network": has.network}
        >>> aggregate(rows, ["deepsight", "mean"], **what)
        tensor([1.0000, 2.0000, 2.0000, 1.0000, 0.1000, 0.2000])
    """

    claims: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset({"head", "layout", "network", "received"})
    why: ClassVar[str] = "it was clustered with models of too uniform training data"

    share: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    samples: Annotated[int, Field(ge=1, le=1_000_000)] = 512
    cluster: Annotated[int, Field(ge=2)] = 3

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Inspect, drop and clip one round's rows."""
        rows = delivery.rows
        layout = given(context.layout, "layout", "deepsight")
        check_layout(layout, rows.shape[1], "deepsight")
        head = Head.of(layout)
        neups = energies(head.weights(rows), head.biases(rows))
        counts = exceedings(neups)
        middle = float(np.median(counts))
        suspicious = (counts <= middle / 2) & (counts < middle)
        labels = self._final(rows, head, neups, context)
        bad = poisoned(labels, suspicious, self.share)
        norms = robust_math.row_norms(rows)
        bound = float(norms.quantile(0.5))
        factors = torch.where(norms > bound, bound / norms, 1.0)
        measurements = {
            "suspicious": float(suspicious.sum()),
            "clusters": float(labels.max(initial=-1) + 1),
            "bound": bound,
        }
        scores = 1.0 - counts / head.classes
        made = dropping("deepsight", scaled(delivery, factors), ~bad, scores, measurements)
        verdicts = (factors * torch.from_numpy(~bad)).tolist()
        shares = dict(zip(delivery.clients, verdicts, strict=True))
        return state, Screened(made.delivery, made.measurements, shares, made.scores)

    def _final(
        self, rows: Rows, head: Head, neups: Table, context: ServerContext
    ) -> NDArray[np.int64]:
        part = columns(rows, (head.bias or head.weight).where)
        biases = cosine_distances(Rows(part)).numpy()
        differences = [self._apart(_euclidean(d)) for d in self._differences(rows, context)]
        kinds = [np.mean(differences, axis=0), self._apart(_euclidean(neups)), self._apart(biases)]
        return self._clusters(np.mean(kinds, axis=0), single=True)

    def _differences(self, rows: Rows, context: ServerContext) -> list[Table]:
        network = given(context.network, "network", "deepsight")
        received = given(context.received, "received", "deepsight")
        shape = (self.samples, *network.input_shape)
        noise = [context.rng.random(shape, np.float32) for _ in range(self.seeds)]
        return [
            division_differences(network, received, rows, torch.from_numpy(one).to(received.device))
            for one in noise
        ]

    def _apart(self, distances: Table) -> Table:
        return apart(self._clusters(distances, single=False))

    def _clusters(self, distances: Table, *, single: bool) -> NDArray[np.int64]:
        return dense_clusters(distances, self.cluster, self.cluster - 1, single=single)


def _euclidean(points: Table) -> Table:
    made = robust_math.squared_distances(Rows(torch.from_numpy(points))).sqrt().numpy()
    return np.asarray(made, np.float64)
