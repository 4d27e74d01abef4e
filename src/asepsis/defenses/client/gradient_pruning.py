"""Gradient pruning: the smallest values of an update are not sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asepsis.core.registry import register
from asepsis.core.stages import Home


@register("client", "gradient-pruning")
class GradientPruning:
    """Set the share of an update that is smallest in magnitude to 0 before it leaves.

    Of a row ``[d]``, buffers included, the ``floor(share d)`` values of least magnitude become 0;
    of equals the first go. Nothing is remembered for later rounds. What stays is exact: this
    hinders an inversion by optimization, and promises no privacy.

    Source: Zhu, Liu and Han, Deep Leakage from Gradients (NeurIPS 2019), Section 5.2 (gradient
    compression: from 20 % on it hinders the attack); default ours

    Fidelity: paper

    Example:
        >>> GradientPruning(share=0.5).pruned(torch.tensor([0.1, -3.0, 2.0, -0.2])).tolist()
        [0.0, -3.0, 2.0, 0.0]
    """

    share: Annotated[float, Field(ge=0, lt=1)] = 0.3

    def protect(
        self, row: Tensor, home: Home, rng: np.random.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Return the pruned row."""
        return self.pruned(row), {}

    def pruned(self, row: Tensor) -> Tensor:
        """Return a row ``[d]`` without its smallest values."""
        gone = torch.argsort(row.abs(), stable=True)[: int(self.share * len(row))]
        made = row.clone()
        made[gone] = 0.0
        return made
