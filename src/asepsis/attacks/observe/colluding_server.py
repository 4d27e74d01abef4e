"""A server with colluders: what is left of the sum when their rows are taken away."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from asepsis.attacks.observe.sums import sums_of
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ServerView
from asepsis.core.updates import State


@register("attack", "colluding-server")
class ColludingServer:
    """Subtract the rows of hospitals in league with the server from the sum.

    ``x = (S - sum_{c in C} w_c x_c) / (W - sum_{c in C} w_c)`` for a sum S ``[d]`` of weight W and
    the colluders C in it, who show the server their rows and counts (counts of 1 where the sum
    weighs all alike). What is left is the mean of the honest: of n hospitals n - 1 colluders
    isolate the last, and no protocol helps. Of several sums, as of groups, the one with the fewest
    honest hospitals counts. Colluders are the hostile hospitals of a threat model whose role is
    the server's.

    Returns evidence ``isolation``: ``row`` ``[d]`` about the one honest hospital, or else of the
    mean of ``clients``; measurements ``honest_left`` and ``colluders``. None where no honest
    hospital is in any sum.

    Source: Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning
    (CCS 2017), section 6: what a server and colluding users learn together

    Fidelity: own

    Example:
        >>> ColludingServer()
        ColludingServer()
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)
    colludes: ClassVar[bool] = True

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Take away what colluders show."""
        known = set(view.colluders)
        sums = [one for one in sums_of(view) if not known.issuperset(one.members)]
        if not sums:
            return state, None
        chosen = min(sums, key=lambda one: (len(set(one.members) - known), one.members))
        honest = tuple(i for i in chosen.members if i not in known)
        inside = [i for i in chosen.members if i in known]
        equal = chosen.weight == len(chosen.members)
        left, weight = chosen.total, chosen.weight
        for client in inside:
            count = 1.0 if equal else float(view.counts.get(client, 1.0))
            left = left - count * view.colluders[client].double().cpu()
            weight -= count
        if not weight > 0:
            return state, None
        return state, Evidence(
            kind="isolation",
            guesses={"row": (left / weight).to(view.sent)},
            about=honest[0] if len(honest) == 1 else None,
            clients=honest,
            measurements={"honest_left": float(len(honest)), "colluders": float(len(inside))},
        )
