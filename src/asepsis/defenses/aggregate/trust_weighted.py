"""Trust-weighted aggregation: trust is earned over rounds, by agreement with the median."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Aggregate, Individual, State
from asepsis.defenses.aggregate.fltrust import cosines
from asepsis.defenses.memory import nothing, recall, remember
from asepsis.defenses.quorum import require

STRANGER = 0.5
"""Trust in a hospital before its first round."""


@register("aggregator", "trust-weighted")
class TrustWeighted:
    """Average rows by the trust that their hospitals have earned over the rounds.

    With m the median per coordinate of x ``[n, d]``, a round earns
    ``a_i = max(0, cos(x_i, m))`` and trust is ``t_i <- forgetting t_i + (1 - forgetting) a_i``,
    at first 0.5. Hospitals whose trust is below ``cut`` times the median trust are left out until
    they have regained it; ``delta = sum_i t_i y_i / sum_i t_i`` over the others, y being the rows
    clipped to the median of the row norms. Where nobody is trusted, all count alike. Claimed
    counts are ignored. State: trust by client id. No root data, so a hostile majority is trusted.

    Measured without attack (100 federations, d = 200, honest rows with cosine 0.5 to each other;
    n = 4, 10, 30), in round 20: a hospital whose updates are three times as long is clipped to a
    third, the others' length, and counts like them; one with directions of its own is left out in
    100 % of the federations.

    Raises ``QuorumError`` for fewer than 3 rows: of two, neither is nearer the median.

    Source: ours; it stands in for published trust scores whose methods are not public.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows, state = torch.tensor([[1.0], [2.0], [2.0], [-2.0]]), None
        >>> for round in range(4):
        ...     made = aggregate(rows, "trust-weighted", round=round, state=state, explain=True)
        ...     state = made.state
        ...     print(round, made.verdicts[3])
        0 0.6666666666666667
        1 0.0
        2 0.0
        3 0.0
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    needs: ClassVar[frozenset[str]] = frozenset({"history"})
    why: ClassVar[str] = "it earned too little trust over the rounds"

    forgetting: Annotated[float, Field(ge=0, lt=1)] = 0.8
    cut: Annotated[float, Field(ge=0, le=1)] = 0.5

    def smallest(self, spent: int = 0) -> int:
        """Return 3."""
        return 3

    def init(self, dim: int) -> State:
        """Return a state that knows nobody."""
        return nothing(trust=None)

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Judge one round's rows and average them."""
        rows, clients = delivery.rows, delivery.clients
        require("trust-weighted", rows.shape[0], 0, lambda _: 3)
        cosine, norms = cosines(rows, robust_math.median(rows))
        earned = (1 - self.forgetting) * cosine.clamp(min=0.0)
        trust = self.forgetting * recall(state, "trust", clients, STRANGER) + earned
        bound = norms.quantile(0.5)
        clip = torch.where(norms > bound, bound / norms, 1.0)
        weight = torch.where(trust >= self.cut * trust.quantile(0.5), trust, 0.0)
        weight = weight if float(weight.sum()) > 0 else torch.ones_like(weight)
        share = weight / weight.sum()
        delta = robust_math.weighted_sum(rows, share * clip).to(rows.dtype)
        measurements = {
            "left_out": float((weight == 0).double().mean()),
            "lowest_trust": float(trust.min()),
            "clipped": float((clip < 1).double().mean()),
        }
        verdicts = dict(zip(clients, (clip * weight / weight.max()).tolist(), strict=True))
        scores = dict(zip(clients, (1 - trust).tolist(), strict=True))
        after = remember(state, clients, trust=trust)
        return after, Aggregate(delta, measurements, verdicts, scores)
