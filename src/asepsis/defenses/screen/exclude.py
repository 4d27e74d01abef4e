"""Exclude: hospitals that the server knows by number stay out."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field

from asepsis.core.errors import QuorumError
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Screened, State
from asepsis.defenses.screen.dropping import dropping


@register("screen", "exclude")
class Exclude:
    """Drop the updates of named hospitals in every round: a blocklist.

    Rows of x ``[n, d]`` whose client id is among ``hospitals`` are dropped, whatever they hold;
    the others go on as they are. With nobody named it does nothing. It looks at no update and
    learns nothing. Told who is hostile it is the oracle that other defenses are compared with: as
    good as any that only drops hospitals can be, in every round from the first.

    It knows hospitals by number, and is therefore refused behind a channel or a screen that makes
    one row of several.

    Raises ``ConfigError`` for numbers below 0, ``QuorumError`` when nobody else came.

    Source: ours: what a federation's operators can do by hand.

    Fidelity: own

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> rows = np.array([[1.0], [3.0], [80.0]])
        >>> aggregate(rows, [{"name": "exclude", "hospitals": [2]}, "mean"])
        array([2.])
    """

    claims: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset({"history"})
    why: ClassVar[str] = "it is named in the blocklist"

    hospitals: tuple[Annotated[int, Field(ge=0)], ...] = ()

    def init(self, dim: int) -> State:
        """Return the blocklist: it never changes."""
        return {"clients": torch.tensor(sorted(set(self.hospitals)), dtype=torch.int64)}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Drop the rows of the named hospitals."""
        named = np.isin(np.array(delivery.clients), self.hospitals)
        if named.size and named.all():
            raise QuorumError("all hospitals of the round are excluded", place="exclude")
        return state, dropping("exclude", delivery, ~named, named.astype(float), {})
