"""SignGuard: norms within bounds, and signs like those of the largest group."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.errors import QuorumError
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Screened, State
from asepsis.defenses.screen.mean_shift import bandwidth, mean_shift
from asepsis.defenses.screen.norm_clip import scaled

NARROWEST = 1e-6
"""Mean shift needs a bandwidth; where half of all rows have equal signs it would be 0."""


def sign_features(block: Tensor) -> NDArray[np.float64]:
    """Return the shares of positive, zero and negative values ``[n, 3]``, each over its largest.

    Example:
        >>> sign_features(torch.tensor([[1.0, 2.0, -1.0, 0.0], [3.0, -2.0, -1.0, -5.0]])).tolist()
        [[1.0, 1.0, 0.3333333333333333], [0.5, 0.0, 1.0]]
    """
    counts = [(block > 0).sum(1), (block == 0).sum(1), (block < 0).sum(1)]
    features = torch.stack(counts, dim=1).double().cpu().numpy()
    largest = features.max(axis=0)
    made: NDArray[np.float64] = features / np.where(largest > 0, largest, 1.0)
    return made


def largest_group(features: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows are in the largest group of a mean shift; of equal ones, the first."""
    labels = mean_shift(features, max(bandwidth(features, 0.5), NARROWEST))
    groups = [labels == label for label in dict.fromkeys(labels.tolist()) if label >= 0]
    made: NDArray[np.bool_] = max(groups, key=np.count_nonzero)
    return made


@register("screen", "signguard")
class SignGuard:
    """Keep rows of ordinary norm whose signs are like those of the largest group; clip them.

    With M the median of the norms of x ``[n, d]``: a row passes the first filter where
    ``lower M <= |x_i| <= upper M``. For the second, ``ceil(share d)`` columns are drawn at random;
    the shares of positive, zero and negative values in them, each divided by its largest over the
    rows, are clustered by mean shift (bandwidth: the mean distance to the nearest half of the rows;
    rows in no cluster fail), and rows of the largest cluster pass (of equal ones, the one with the
    lowest client id). Rows that pass both go on, clipped to M. Claimed counts pass through.

    The authors' code draws one run of adjacent columns and starts mean shift from binned points:
    here columns are drawn singly, as in the paper's text, and every row is a start.

    Honest rows are no single cluster: the bandwidth follows their own spread, however small that
    is, so that some fail in most rounds. Measured without attack (100 cohorts, d = 200, honest rows
    with cosine 0.5 to each other; n = 4, 10, 30), an ordinary hospital is dropped in 41, 38 and
    40 % of the cases; in trained federations (digits, 40 samples a hospital, 12 rounds,
    3 seeds) in 40, 26 and 24 % of the rounds, and where one hospital has one class only that one in
    89, 89 and 86 %, the others in 19, 18 and 20 %.

    Raises ``QuorumError`` where no row passes both.

    Source: Xu et al., Byzantine-robust Federated Learning through Collaborative Malicious
    Gradient Filtering (ICDCS 2022; arXiv 2109.05872), plain SignGuard.

    Fidelity: code

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
        >>> aggregate(rows, [{"name": "signguard", "share": 1.0}, "mean"])
        tensor([1., 1.])
    """

    claims: ClassVar[frozenset[str]] = frozenset()
    why: ClassVar[str] = "its norm or its signs were unlike the largest group's"

    lower: Annotated[float, Field(ge=0, le=1)] = 0.1
    upper: Annotated[float, Field(ge=1)] = 3.0
    share: Annotated[float, Field(gt=0, le=1)] = 0.1

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Filter and clip one round's rows."""
        norms = robust_math.row_norms(delivery.rows)
        middle = float(norms.quantile(0.5))
        ordinary = (norms >= self.lower * middle) & (norms <= self.upper * middle)
        alike = torch.from_numpy(largest_group(sign_features(self._drawn(delivery, context))))
        good = ordinary & alike
        if not bool(good.any()):
            raise QuorumError("no row passes both filters of signguard", got=len(norms))
        factors = torch.where(norms > middle, middle / norms, 1.0)
        passed = scaled(delivery, factors).select(good.nonzero().flatten())
        verdicts = dict(zip(delivery.clients, (factors * good).tolist(), strict=True))
        measurements = {
            "bound": middle,
            "failed_norm": float((~ordinary).double().mean()),
            "failed_signs": float((~alike).double().mean()),
        }
        return state, Screened(passed, measurements, verdicts)

    def _drawn(self, delivery: Individual, context: ServerContext) -> Tensor:
        d = delivery.rows.shape[1]
        count = int(np.ceil(round(self.share * d, 9)))
        chosen = np.sort(context.rng.choice(d, count, replace=False))
        return delivery.rows.dense()[:, torch.from_numpy(chosen)]
