"""A backdoor whose update goes exactly as far as the defense in use lets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from asepsis.attacks.backdoor.badnets import BadNets
from asepsis.attacks.update.adaptive_poisoning import taken_far
from asepsis.core.registry import register
from asepsis.core.threat import ClientView, Sees
from asepsis.core.updates import State


@register("attack", "adaptive-backdoor")
class AdaptiveBackdoor(BadNets):
    """Backdoor: poison as ``badnets``, and ask the defense in use how far the update may go.

    Rows sent: ``mean(honest) + gamma p`` with p = mean of the hostile hospitals' rows, trained on
    their stamped samples, minus the mean of the honest ones, as in ``adaptive-poisoning``: gamma
    maximizes how far the defense's aggregate goes along p, and is at most ``n / (lr_server m)``,
    model replacement. It needs to see the honest rows: its own would leave nothing to amplify.
    Recorded: ``gamma``, ``moved``, ``calls``, and ``inactive`` where gamma is 0.

    Raises ConfigError where nobody says which defense is in use.

    Source: Wang et al., Attack of the Tails: Yes, You Really Can Backdoor Federated Learning,
    NeurIPS 2020, section 3.2 (projection to what the defense accepts: the idea)

    Fidelity: own

    Tasks: image, multilabel-image, volume, table, sequence

    Example:
        >>> AdaptiveBackdoor(share=0.5).needs_rule
        True
    """

    needs_rule: ClassVar[bool] = True
    sees: ClassVar[Sees] = Sees.OMNISCIENT

    calls: Annotated[int, Field(ge=1, le=1000)] = 20

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        """Return the rows to send, the gamma, how far the aggregate moved, and the calls."""
        rows, measured = taken_far(view, self.calls)
        return state, rows, measured
