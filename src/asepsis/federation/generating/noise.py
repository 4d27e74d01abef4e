"""The same noise in every round and every cell, so that images differ by the generator alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from asepsis.core.desk import VALUES
from asepsis.models.gan import Synthesizer

MOST = 256
SEEDS = 2**63


@dataclass(frozen=True, slots=True)
class Noise:
    """What a generator is asked for: always the same."""

    seed: int

    @torch.no_grad()
    def images(self, generator: Synthesizer, labels: Tensor) -> Tensor:
        """Generate one image for each label ``[n]``; of its class, where there are classes."""
        z = generator.noise(len(labels), torch.Generator().manual_seed(self.seed % SEEDS))
        each = max(1, min(MOST, VALUES // (8 * prod(generator.image))))
        asked = torch.split(labels.to(z.device), each) if generator.classes else None
        parts = torch.split(z, each)
        return torch.cat(
            [generator(part, None if asked is None else asked[i]) for i, part in enumerate(parts)]
        )
