"""DP-FedAvg: hide whether a hospital took part at all."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asepsis.core.privacy import Accountant
from asepsis.core.registry import register
from asepsis.defenses.aggregate.dp_mean import DpMean
from asepsis.defenses.client.clip import ClientClip


@register("recipe", "dp-fedavg")
class DpFedAvg:
    """Clip every hospital's update at home, and add noise to the sum at a trusted server.

    The stages ``client-clip`` (silent: nothing leaves but the row and one bit) and ``dp-mean``:
    ``delta = (sum_i x_i min(1, C / |x_i|) + N(0, (z_d C)^2 I)) / m`` over the whole row ``[d]``,
    with a bound ``C`` that follows a quantile of the norms through noised counts. A transport may
    be named before or after it: it works behind a secure sum. The unit is one hospital with all of
    its data; use ``federation.sampling = "poisson"`` for amplification by sampling, which a fixed
    cohort does not get. With few hospitals the noise drowns what is learned: that is the price,
    not a fault.

    Source: McMahan et al., Learning Differentially Private Recurrent Language Models (ICLR 2018),
    Algorithm 1; Andrew et al., Differentially Private Learning with Adaptive Clipping (NeurIPS
    2021), Algorithm 1.

    Fidelity: paper

    Example:
        >>> [type(stage).__name__ for stage in DpFedAvg(noise_multiplier=2.0).stages()]
        ['ClientClip', 'DpMean']
    """

    noise_multiplier: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    bound: Annotated[float, Field(gt=0, le=1e30)] = 1.0
    quantile: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    rate: Annotated[float, Field(gt=0, le=10)] = 0.2
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    accountant: Accountant = "rdp"

    def stages(self) -> tuple[object, ...]:
        """Return the two stages."""
        rule = DpMean(
            noise_multiplier=self.noise_multiplier,
            bound=self.bound,
            quantile=self.quantile,
            rate=self.rate,
            delta=self.delta,
            accountant=self.accountant,
        )
        return ClientClip(silent=True), rule
