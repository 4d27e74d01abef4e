"""An attack of one's own, checked and run against two rules.

It sends the honest update with its sign turned around in the largest coordinates.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

import asepsis
from asepsis.core.registry import build, register
from asepsis.core.threat import ClientView, Sees
from asepsis.core.updates import State
from asepsis.testing import check_update_attack


@register("attack", "turn-largest")
class TurnLargest:
    """Send the honest row with its largest coordinates turned around."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    factor: Annotated[float, Field(gt=0)] = 3.0
    sees: ClassVar[Sees] = Sees.OWN

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        """Return the next state, the rows to send, and measurements to record."""
        count = max(1, round(self.share * view.rows.shape[1]))
        largest = view.rows.abs().topk(count, dim=1).indices
        turned = view.rows.gather(1, largest).mul(-self.factor)
        return state, view.rows.scatter(1, largest, turned), {"coordinates": float(count)}


def main(seeds: int = 2) -> None:
    """Check what every attack must keep, then run it."""
    check_update_attack(build("attack", "turn-largest"))
    table = {
        "dataset": "breast-cancer",
        "partition": "iid",
        "model": "logistic",
        "federation": {"hospitals": 6, "rounds": 4},
        "threat": {"hostile": 2},
        "attack": "turn-largest",
    }
    stacks = [["mean"], [{"name": "trimmed-mean", "f": 2}]]
    results = asepsis.sweep(table, {"defenses": stacks}, seeds=seeds)
    print(results.frame()[["attack", "defense", "seed", "balanced_accuracy"]].to_string())


if __name__ == "__main__":
    main()
