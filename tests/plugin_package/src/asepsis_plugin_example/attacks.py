"""An attack of our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from torch import Tensor

from asepsis.core.registry import register
from asepsis.core.threat import ClientView, Sees
from asepsis.core.updates import State


@register("attack", "mirror")
class Mirror:
    """Send the honest row mirrored at zero, a little larger."""

    factor: float = 1.5
    sees: ClassVar[Sees] = Sees.OWN

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        """Craft."""
        return state, -self.factor * view.rows, {}
