"""The mean of bounded rows with central Gaussian noise: one hospital's part in it is hidden."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.privacy import Accountant, PrivacyClaim, PrivacyFacts
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Aggregate, Delivery, Individual, State, Summed
from asepsis.defenses.client.bound import BOUND, WITHIN
from asepsis.defenses.given import check_layout
from asepsis.defenses.quorum import require
from asepsis.defenses.release.noise import gaussian, possible
from asepsis.defenses.screen.adaptive_clip import next_bound
from asepsis.metrics.privacy import epsilon

EXACT = 1 - 1e-6

ASSUMES = (
    "the server is trusted, and only its models and bounds are published: not the telemetry, the "
    "norms or the loss that a simulation records",
    "how many hospitals there are, and how many are expected in a round, is public",
    "scaling and class weights that the task fits to training samples are public",
    "no hospital sees another's update: what an attacker sends does not depend on it",
    "the noise is a simulator's, not a cryptographic generator's",
)


@register("aggregator", "dp-mean")
class DpMean:
    """Add up bounded rows, add Gaussian noise, and divide by the cohort that was expected.

    ``delta = (sum_i x_i min(1, C / |x_i|) + N(0, (z_d C)^2 I)) / m`` for x ``[n, d]``, buffers
    included, every hospital counting the same whatever it claims. ``m`` is what the protocol
    expects in a round, not who came; called alone, the number of rows. Rows that come one by one
    are clipped here; behind a secure sum hospitals must do so (``client-clip``).

    ``C`` starts at ``bound``, is announced with every model, and follows the ``quantile`` of the
    norms: with ``b`` the hospitals within it, ``C <- C exp(-rate (s / m + 1/2 - quantile))``,
    ``s = sum_i (b_i - 1/2) + N(0, z_b^2)``. Without ``quantile`` it stays. ``noise_multiplier`` z
    is that of sum and count together: ``z_b`` is the larger of ``m / 20`` and ``z``, and ``z_d =
    (z^-2 - (2 z_b)^-2)^(-1/2)``. Epsilon is counted over all rounds for one hospital added or
    removed (trust: central), with sample rate ``participation`` under ``sampling = "poisson"``
    and without amplification otherwise, where neighbors leave one hospital's updates out. A round
    that nobody was drawn for, or in which nobody sent a finite row, is noise alone.

    Raises ConfigError for a layout of another model. Behind a secure sum whose hospitals do not
    say whether they were within, the bound stays.

    Source: McMahan et al., Learning Differentially Private Recurrent Language Models (ICLR 2018),
    estimator f_f; Andrew et al., Differentially Private Learning with Adaptive Clipping (NeurIPS
    2021), Algorithm 1 and Theorem 1.

    Fidelity: paper

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> quiet = {"name": "dp-mean", "noise_multiplier": 0.0, "bound": 1.0}
        >>> aggregate(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), [quiet])
        tensor([0.3000, 0.4000])
    """

    accepts: ClassVar[frozenset[type]] = frozenset({Individual, Summed})
    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    needs: ClassVar[frozenset[str]] = frozenset({"history"})
    unweighted: ClassVar[bool] = True
    answers_nobody: ClassVar[bool] = True

    noise_multiplier: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    bound: Annotated[float, Field(gt=0, le=1e30)] = 1.0
    quantile: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    rate: Annotated[float, Field(gt=0, le=10)] = 0.2
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    accountant: Accountant = "rdp"

    def smallest(self, spent: int = 0) -> int:
        """Return 1: any cohort has a noisy mean."""
        return 1

    def init(self, dim: int) -> State:
        """Return the first bound."""
        return {"bound": torch.tensor(self.bound, dtype=torch.float64)}

    def announce(self, state: State) -> dict[str, float]:
        """Tell hospitals the bound of the coming round."""
        return {BOUND: float(state["bound"])}

    def apply(
        self, state: State, delivery: Delivery, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Add up one round's delivery with noise, and set the next bound."""
        bound = float(state["bound"])
        total, within, count = self._added(delivery, bound)
        expected = context.expected or float(max(count, 1))
        on_sum, on_count = self.split(expected)
        check_layout(context.layout, len(total), "dp-mean")
        noise = gaussian(context.rng, total, on_sum * bound)
        delta = (total.double() + noise) / expected
        if context.received is not None:
            received = context.received.to(delta.device, delta.dtype)
            delta = possible(received + delta, context.layout) - received
        after = bound
        if self.quantile is not None and within is not None:
            counted = within - count / 2 + on_count * float(context.rng.normal())
            after = next_bound(bound, counted / expected + 0.5, self.quantile, self.rate)
        measured = {"bound": bound, "next_bound": after, "std": on_sum * bound / expected}
        made = {"bound": torch.tensor(after, dtype=torch.float64)}
        return made, Aggregate(delta.to(total.dtype), measured)

    def split(self, expected: float) -> tuple[float, float]:
        """Return the noise multiplier of the sum, and the noise on the count."""
        z = self.noise_multiplier
        if self.quantile is None or z == 0:
            return z, 0.0
        on_count = max(expected / 20, z)
        return (z**-2 - (2 * on_count) ** -2) ** -0.5, on_count

    def _added(self, delivery: Delivery, bound: float) -> tuple[Tensor, float | None, int]:
        """Return the sum of bounded rows, how many were within the bound, and of how many."""
        if isinstance(delivery, Summed):
            said = delivery.side.get(WITHIN, None if delivery.count else 0.0)
            return delivery.total, _counted(said, delivery.count), delivery.count
        require("dp-mean", delivery.rows.shape[0], 0, lambda _: 1)
        norms = robust_math.row_norms(delivery.rows)
        factors = torch.where(norms > bound, bound / norms, 1.0)
        total = robust_math.weighted_sum(delivery.rows, factors).to(delivery.rows.dtype)
        told = delivery.side.get(WITHIN)
        # Rows that were clipped at home have the norm of the bound, give or take a rounding.
        inside = (
            (norms < bound * EXACT).double()
            if told is None
            else told.nan_to_num(nan=0.0).clamp(0.0, 1.0)
        )
        return total, float(inside.sum()), len(norms)

    def privacy(self, facts: PrivacyFacts) -> PrivacyClaim:
        """Return what is promised to one hospital over all rounds."""
        drawn = facts.sampling == "poisson" and facts.participation < 1
        rate = facts.participation if drawn else 1.0
        # In a cohort of fixed size, whoever is removed makes room for another.
        whole = drawn or facts.participation == 1
        spent = epsilon(
            noise_multiplier=self.noise_multiplier,
            sample_rate=rate,
            steps=facts.rounds,
            delta=self.delta,
            accountant=self.accountant,
        )
        return PrivacyClaim(
            mechanism="dp-mean",
            unit="hospital",
            neighbors="add or remove one" if whole else "leave one's updates out",
            trust="central",
            sampling="poisson" if drawn else "all",
            accountant=self.accountant,
            epsilon=spent,
            delta=self.delta,
            noise_multiplier=self.noise_multiplier,
            sample_rate=rate,
            steps=facts.rounds,
            assumes=ASSUMES,
        )


def _counted(said: float | None, count: int) -> float | None:
    """Return how many of ``count`` are within the bound, as far as that is possible."""
    return None if said is None or math.isnan(said) else min(max(said, 0.0), float(count))
