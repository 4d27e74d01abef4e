"""Inner product manipulation: push the aggregate against the honest direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.threat import ClientView, Sees
from asepsis.core.updates import Rows, State


@register("attack", "ipm")
class Ipm:
    """Send the negative of the honest mean.

    Rows sent: ``-epsilon mean(honest)``, the same for all ``m`` hostile hospitals, ``[m, d]``.
    The mean of n rows then points along ``(n - m - epsilon m) / n`` times the honest mean:
    backwards when ``epsilon > (n - m) / m``. A small epsilon hides, a large one breaks the mean.
    ``honest`` are the rows that the view grants: it needs to see at least those of its colluders.

    Source: Xie et al., Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product
    Manipulation, UAI 2019, section 4

    Fidelity: own

    Example:
        >>> from asepsis.attacks.craft import craft
        >>> craft(np.array([[1.0], [3.0]]), "ipm", epsilon=0.5)
        array([[-1.]])
    """

    epsilon: Annotated[float, Field(gt=0)] = 0.5
    sees: ClassVar[Sees] = Sees.COLLUDERS

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        """Return the rows to send."""
        row = -self.epsilon * robust_math.mean(Rows(view.reference))
        return state, row.to(view.rows).expand(len(view.clients), -1).clone(), {}
