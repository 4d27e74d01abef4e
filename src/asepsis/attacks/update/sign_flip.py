"""Sign flip: send the opposite of what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from asepsis.core.registry import register
from asepsis.core.threat import ClientView, Sees
from asepsis.core.updates import State


@register("attack", "sign-flip")
class SignFlip:
    """Send the own honest update with its sign turned round.

    Rows sent: ``-scale x own``, ``[m, d]``.

    Source: Li et al., RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed
    Learning from Heterogeneous Datasets, AAAI 2019, section 5 (sign-flipping attack)

    Fidelity: own

    Example:
        >>> from asepsis.attacks.craft import craft
        >>> craft(np.array([[1.0, 2.0]]), "sign-flip")
        array([[-1., -2.]])
    """

    scale: Annotated[float, Field(gt=0)] = 1.0
    sees: ClassVar[Sees] = Sees.OWN

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        """Return the rows to send."""
        return state, -self.scale * view.rows, {}
