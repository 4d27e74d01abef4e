"""The attacker who knows the defense: ask it how far one may go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from asepsis.attacks.update.asking import farthest
from asepsis.attacks.update.perturbation import Perturbation, direction
from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.threat import ClientView, Sees
from asepsis.core.updates import Rows, State


@register("attack", "adaptive")
class Adaptive:
    """Search for the rows that move the aggregate of the very defense in use farthest.

    Rows sent: ``mean(honest) + gamma p``, the same for all ``m`` hostile hospitals, ``[m, d]``,
    with p as in ``min-max``. gamma maximizes ``<A - mean(honest), p> / |p|``, how far the
    defense's aggregate A of hostile and honest rows goes along p: first over a grid of powers of
    two of ``max_i |x_i - mean| / |p|``, then by golden section around the best, with at most
    ``calls`` calls of the defense. Where nothing moves along p the honest mean is sent. Who does
    not see the honest rows lets the hostile hospitals' own ones stand in for them. Recorded:
    ``gamma``, ``moved`` (the maximum found), ``calls``, and ``inactive`` where gamma is 0.

    Raises ConfigError where nobody says which defense is in use.

    Source: Shejwalkar and Houmansadr, Manipulating the Byzantine: Optimizing Model Poisoning
    Attacks and Defenses for Federated Learning, NDSS 2021 (AGR-tailored attacks: the idea)

    Fidelity: own

    Example:
        >>> import torch
        >>> from asepsis.attacks.craft import craft
        >>> honest = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
        >>> row = craft(honest, "adaptive", rule=lambda rows: rows.median(dim=0).values)
        >>> bool(row[0, 0] < 2)
        True
    """

    perturbation: Perturbation = "unit"
    calls: Annotated[int, Field(ge=1, le=1000)] = 30
    sees: ClassVar[Sees] = Sees.COLLUDERS
    needs_rule: ClassVar[bool] = True

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        """Return the rows to send, the gamma, how far the aggregate moved, and the calls."""
        honest = Rows(view.reference)
        mean = robust_math.mean(honest)
        p = direction(honest, mean, self.perturbation)
        rows, measured = farthest(view, mean, p, self.calls)
        return state, rows, measured
