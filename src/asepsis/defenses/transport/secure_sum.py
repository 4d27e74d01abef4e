"""An ideal secure sum: the server learns the sum of the rows and nothing else."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from asepsis.core import robust_math
from asepsis.core.channel import Carried, Channel
from asepsis.core.registry import register
from asepsis.core.updates import Individual, Summed
from asepsis.defenses.transport.honest import FEWEST, check_honest


@register("transport", "secure-sum")
class SecureSum:
    """Deliver only the weighted sum of the rows: an ideal secure aggregation.

    ``total = sum_i w_i x_i`` and ``weight = sum_i w_i`` for x ``[n, d]`` and the claimed counts w
    (1 each when not ``weighted``), telemetry summed alike. This is the ideal functionality,
    computed in one process and recorded as ``ideal``: no masks, no protocol, no cryptography.
    Counts are cut to ``[0, max_count]``, as a range proof on the count would, and one that is no
    number is 0; rows cannot be bounded or inspected. One non-finite row spoils the sum, and nobody
    can be named. A cohort with fewer honest hospitals than ``fewest``, colluders of a curious
    server counted out, is refused beforehand (1 allows any, to demonstrate what is lost); a round
    that fewer answer is delivered.

    Source: Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning
    (CCS 2017): what its server learns, not its protocol.

    Fidelity: own

    Example:
        >>> from asepsis.core.updates import Rows
        >>> counts = torch.tensor([1.0, 3.0], dtype=torch.float64)
        >>> sent = Individual((0, 1), Rows(torch.tensor([[1.0], [2.0]])), counts)
        >>> SecureSum().deliver(sent, Channel.of(sent)).delivery.total
        tensor([7.])
    """

    delivers: ClassVar[type] = Summed
    ideal: ClassVar[bool] = True

    weighted: bool = True
    max_count: Annotated[float, Field(gt=0)] = 1e6
    fewest: Annotated[int, Field(ge=1)] = FEWEST

    def check_cohort(self, n: int) -> None:
        """Refuse a cohort too small to hide anybody.

        Raises:
            ConfigError: fewer than ``fewest`` hospitals.
        """
        check_honest(n, 0, self.fewest)

    def check_colluders(self, n: int, colluders: int) -> None:
        """Refuse a cohort in which colluders leave too few honest hospitals.

        Raises:
            ConfigError: fewer than ``fewest``.
        """
        check_honest(n, colluders, self.fewest)

    def deliver(self, updates: Individual, channel: Channel) -> Carried:
        """Carry the sum of the updates to the server."""
        weights = updates.weights.nan_to_num(nan=0.0).clamp(min=0.0, max=self.max_count)
        weights = weights if self.weighted else torch.ones_like(weights)
        total = robust_math.weighted_sum(updates.rows, weights)
        summed = Summed(
            count=updates.rows.shape[0],
            total=total.to(updates.rows.dtype),
            weight=float(weights.sum()),
            side={name: float(values.sum()) for name, values in updates.side.items()},
        )
        return Carried(summed)
