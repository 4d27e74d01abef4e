"""Clipping at home: a hospital bounds the norm of its own update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from asepsis.core.registry import register
from asepsis.core.stages import Home
from asepsis.defenses.client.bound import BOUND, WITHIN, bound_of, shortened


@register("client", "client-clip")
class ClientClip:
    """Scale a hospital's own update down to a largest Euclidean norm before it leaves.

    ``x <- x min(1, C / |x|)`` over the whole row ``[d]``: parameters, buffers and 0-dim tensors
    together. ``C`` is the smaller of ``max_norm`` and the bound that the server announced with the
    model, 1 where there is neither. Where the server announced a bound, the hospital tells it with
    its update whether the row was within: one exact bit, meant for a rule that noises the count.
    ``silent`` lets no other telemetry leave (a training loss would be exact). A row that is not
    finite is sent as zeros. Hostile hospitals skip this unless they are attested.

    Source: McMahan et al., Learning Differentially Private Recurrent Language Models (ICLR 2018),
    flat clipping; the announced bound: Andrew et al., Differentially Private Learning with
    Adaptive Clipping (NeurIPS 2021).

    Fidelity: own

    Example:
        >>> ClientClip(max_norm=0.5).max_norm
        0.5
    """

    reports: ClassVar[frozenset[str]] = frozenset({WITHIN})

    max_norm: Annotated[float, Field(gt=0)] | None = None
    silent: bool = False

    def protect(
        self, row: Tensor, home: Home, rng: np.random.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Return the clipped row, and whether it was within the announced bound."""
        made, within = shortened(row, bound_of(self.max_norm, home.told))
        return made, {WITHIN: float(within)} if BOUND in home.told else {}
