"""FoolsGold: hospitals whose updates are too alike over the rounds lose their say."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Aggregate, Individual, Rows, State
from asepsis.defenses.given import check_layout, given
from asepsis.defenses.head import Head
from asepsis.defenses.memory import nothing, recall, remember
from asepsis.defenses.quorum import require

ALIKE = 1e-12
"""Rows whose cosines are all nearer to 1 than this have no one among them that stands apart."""


def similarities(history: Tensor) -> Tensor:
    """Return the cosine of every pair of rows ``[n, n]``, with zeros on the diagonal."""
    norms = robust_math.row_norms(Rows(history))
    unit = Rows(history).scaled(1.0 / torch.where(norms > 0, norms, 1.0))
    cosine = 1.0 - robust_math.squared_distances(unit) / 2
    there = norms > 0
    cosine = torch.where(there[:, None] & there[None, :], cosine, 0.0)
    return cosine.fill_diagonal_(0.0)


def add(history: Tensor, rows: Rows, where: slice) -> None:
    """Add some columns of the rows to ``history`` ``[n, k]``, in place, block by block."""
    for block, values in rows.blocks(robust_math.COLUMNS):
        low, high = max(where.start, block.start), min(where.stop, block.stop)
        if low < high:
            part = values[:, low - block.start : high - block.start]
            history[:, low - where.start : high - where.start] += part.double().cpu()


def shares(cosine: Tensor) -> Tensor:
    """Return what FoolsGold lets through of every row ``[n]``, in [0, 1].

    Example:
        >>> shares(torch.tensor([[0.0, 0.99, 0.1], [0.99, 0.0, 0.1], [0.1, 0.1, 0.0]])).tolist()
        [0.0, 0.0, 1.0]
    """
    most = cosine.amax(dim=1).clamp(min=0.0)
    # Pardoning: whoever is less like its nearest than the other is counts for less alike.
    pardon = torch.where(most[:, None] < most[None, :], most[:, None] / most[None, :], 1.0)
    apart = (1.0 - (cosine * pardon).amax(dim=1).clamp(min=0.0)).clamp(0.0, 1.0)
    if float(apart.max()) <= ALIKE:
        return torch.ones_like(apart)
    relative = apart / apart.max()
    relative = torch.where(relative == 1.0, 0.99, relative)
    return (torch.logit(relative) + 0.5).clamp(0.0, 1.0)


@register("aggregator", "foolsgold")
class FoolsGold:
    """Cut down hospitals whose updates, summed over the rounds, point the same way.

    With H_i the sum of client i's rows so far, ``c_ij = cos(H_i, H_j)`` and
    ``v_i = max(0, max_j c_ij)``; pardoning scales ``c_ij`` by ``v_i / v_j`` where ``v_i < v_j``;
    ``a_i = 1 - max(0, max_j c_ij)``, divided by the largest, 1 taken as 0.99;
    ``s_i = clip(log(a_i / (1 - a_i)) + 0.5, 0, 1)``; ``delta = 1/n sum_i s_i x_i``: not divided by
    the sum of shares, so that the step shrinks with them. Where all are equal in direction nobody
    stands apart, and all count whole. ``last_layer`` compares only the last layer's weights (and
    then remembers no more than these), as the authors do for deep networks. Claimed counts are
    ignored. State: H, float64 ``[clients, d]``: twice the size of float32 rows, and a round holds
    it up to three times, before, for its clients and after.

    Weaknesses: likeness IS its suspicion. A lone attacker, who resembles nobody, is never cut, and
    of two hospitals both count whole; honest hospitals with similar data are taken for one
    another's sybils as soon as anybody stands apart. Measured without attack (100 cohorts,
    d = 200, honest rows with cosine 0.5 to each other; n = 4, 10, 30): an unusual hospital keeps
    its whole row, whether it is three times as long or has a direction of its own, but in the
    latter case the ordinary hospitals keep only 48, 39 and 29 % of theirs.

    Raises ``QuorumError`` for an empty cohort; ``ConfigError`` where ``last_layer`` is asked for
    without a layout that fits the rows.

    Source: Fung et al., The Limitations of Federated Learning in Sybil Settings (RAID 2020),
    Algorithm 1; the authors' code (deep-fg) was read: the factor 1/n and the 0.99 are from there.
    Equal to it to 1e-6 but in two cases: where all agree it divides 0 by 0, and where the cosines
    are all negative its result hangs on a rounding error of the diagonal.

    Fidelity: code

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[4.0, 4.0], [4.0, 4.0], [0.0, 8.0], [8.0, 0.0]])
        >>> aggregate(rows, "foolsgold")
        tensor([2., 2.])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    why: ClassVar[str] = "its past updates pointed the same way as another hospital's"

    last_layer: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """History, and the layout where only the last layer is compared."""
        return frozenset({"history", "head", "layout"} if self.last_layer else {"history"})

    def smallest(self, spent: int = 0) -> int:
        """Return 1: any cohort will do."""
        return 1

    def init(self, dim: int) -> State:
        """Return a state that remembers nobody."""
        return nothing(history=0 if self.last_layer else dim)

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Aggregate one round's delivery."""
        rows, clients = delivery.rows, delivery.clients
        require("foolsgold", rows.shape[0], 0, lambda _: 1)
        where = self._columns(rows.shape[1], context)
        if not state["history"].shape[1]:
            state = nothing(history=where.stop - where.start)
        if state["history"].shape[1] != where.stop - where.start:
            raise ConfigError(
                "the history is of another output layer",
                place="state",
                got=tuple(state["history"].shape),
                fix="pass on the state of the same model",
            )
        history = recall(state, "history", clients, 0.0)
        add(history, rows, where)
        cosine = similarities(history)
        share = shares(cosine)
        delta = robust_math.weighted_sum(rows, share / rows.shape[0]).to(rows.dtype)
        most = cosine.amax(dim=1)
        measurements = {"mean_share": float(share.mean()), "largest_cosine": float(most.max())}
        verdicts = dict(zip(clients, share.tolist(), strict=True))
        scores = dict(zip(clients, most.tolist(), strict=True))
        after = remember(state, clients, history=history)
        return after, Aggregate(delta, measurements, verdicts, scores)

    def _columns(self, d: int, context: ServerContext) -> slice:
        if not self.last_layer:
            return slice(0, d)
        layout = given(context.layout, "layout", "foolsgold")
        check_layout(layout, d, "foolsgold")
        return Head.of(layout).weight.where
