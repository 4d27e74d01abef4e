"""LASA: every layer is averaged over the rows that look ordinary in it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.layout import Slot
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Aggregate, Individual, Rows, State
from asepsis.defenses.given import check_layout, given
from asepsis.defenses.quorum import require

CLOSE = 1e-9
"""Distances that differ by less, relatively, are equal but for rounding."""


def ordinary(values: Tensor, radius: float) -> Tensor:
    """Return which values are less than ``radius`` standard deviations from their median.

    The median itself always is (bool ``[n]``).

    Example:
        >>> ordinary(torch.tensor([1.0, 2.0, 3.0, 50.0]), 1.0).tolist()
        [True, True, True, False]
    """
    away = (values - values.quantile(0.5)).abs()
    return (away < radius * values.std(correction=0) * (1 - CLOSE)) | (away == 0)


def thresholds(rows: Rows, weights: list[Slot], sparsity: float) -> Tensor:
    """Return the smallest magnitude of every row ``[n]`` that sparsification leaves."""
    size = sum(slot.size for slot in weights)
    drop = size - int(size * (1 - sparsity))
    if not drop:
        return torch.zeros(rows.shape[0], dtype=rows.dtype)
    if drop == size:
        return torch.full((rows.shape[0],), torch.inf, dtype=rows.dtype)
    kept = []
    for row in rows.dense():
        magnitudes = torch.cat([row[slot.where] for slot in weights]).abs()
        kept.append(magnitudes.kthvalue(drop + 1).values)
    return torch.stack(kept).cpu()


@register("aggregator", "lasa")
class Lasa:
    """Clip and sparsify the rows, then average each layer over those ordinary in it.

    Rows x ``[n, d]`` are clipped to the median of their norms. Each row's weights (tensors of two
    and more axes, taken together) lose the ``sparsity`` share of smallest magnitude. In every
    layer (tensor of the layout, buffers too), row i has the norm ``|x_i|`` and the balance ``p_i =
    sum_j sign(x_ij) / sum_j |sign(x_ij)|`` (0 for an empty sum; the paper's offset and scale make
    no difference). It is kept if both are less than ``norm_radius`` and ``sign_radius`` standard
    deviations from the cohort's median (or equal to it); the layer's delta is the plain mean of
    what is kept, or of all rows if none is. Claimed counts are ignored. Verdicts are the share of
    coordinates in the layers that a client was kept in.

    The authors' code drops one weight more of each row, takes the lower of two middle norms, and
    skips both checks in a layer where all norms or all balances are equal; otherwise it agrees.

    Raises ``QuorumError`` for an empty cohort, ``ConfigError`` without a layout of d coordinates.

    Source: Xu, Zhang and Hu, Achieving Byzantine-Resilient Federated Learning via Layer-Adaptive
    Sparsified Model Aggregation (WACV 2025).

    Fidelity: code

    Example:
        >>> from asepsis.core.layout import Layout
        >>> from asepsis.defenses.call import aggregate
        >>> layout = Layout((Slot("weight", (1, 2), 0, True), Slot("bias", (1,), 2, True)))
        >>> rows = torch.tensor([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [-9.0, -9.0, 0.0]])
        >>> aggregate(rows, "lasa", layout=layout, sparsity=0.5)
        tensor([0., 2., 0.])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    needs: ClassVar[frozenset[str]] = frozenset({"layout"})
    why: ClassVar[str] = "norm and signs of its layers stood out"

    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.3
    norm_radius: Annotated[float, Field(gt=0)] = 1.0
    sign_radius: Annotated[float, Field(gt=0)] = 1.0

    def smallest(self, spent: int = 0) -> int:
        """Return 1: any cohort will do."""
        return 1

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Aggregate one round's delivery, layer by layer."""
        rows = delivery.rows
        n, d = rows.shape
        require("lasa", n, 0, lambda _: 1)
        layout, whole = given(context.layout, "layout", "lasa"), rows.dense()
        check_layout(layout, d, "lasa")
        norms = robust_math.row_norms(rows)
        factors = torch.where(norms > norms.quantile(0.5), norms.quantile(0.5) / norms, 1.0)
        weights = [slot for slot in layout.slots if len(slot.shape) >= 2]
        cuts = thresholds(rows, weights, self.sparsity)
        delta = torch.zeros(d, dtype=torch.float64)
        passed = torch.zeros(n, dtype=torch.float64)
        for slot in layout.slots:
            layer = whole[:, slot.where].cpu()
            if len(slot.shape) >= 2:
                layer = torch.where(layer.abs() >= cuts[:, None], layer, 0.0)
            layer = layer.double() * factors[:, None]
            kept = self.kept(Rows(layer))
            delta[slot.where] = robust_math.mean(Rows(layer[kept]))
            passed += slot.size * kept
        verdicts = dict(zip(delivery.clients, (passed / d).tolist(), strict=True))
        measurements = {"kept": float((passed / d).mean())}
        return state, Aggregate(delta.to(whole), measurements, verdicts)

    def kept(self, layer: Rows) -> Tensor:
        """Return which rows of a layer ``[n, k]`` pass both checks, or all if none does."""
        fine = ordinary(robust_math.row_norms(layer), self.norm_radius)
        fine &= ordinary(balance(layer.dense()), self.sign_radius)
        return fine if bool(fine.any()) else torch.ones_like(fine)


def balance(layer: Tensor) -> Tensor:
    """Return by how much each row of a layer is more positive than negative ``[n]``, -1 to 1."""
    signs = layer.sign()
    return signs.sum(dim=1) / signs.abs().sum(dim=1).clamp(min=1)
