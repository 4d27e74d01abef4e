"""A rule of one's own, as a function and in a federation, beside built-in ones.

It averages, in every coordinate, the half of the values nearest the median; then an attacker who
knows it looks for the update that hurts it most.
"""

from typing import Any, ClassVar

import numpy as np

import asepsis
from asepsis.core.registry import build, register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Aggregate, Individual, State
from asepsis.testing import check_rule


@register("aggregator", "inner-half")
class InnerHalf:
    """Average, in every coordinate, the half of the values nearest the median."""

    accepts: ClassVar[frozenset[type]] = frozenset({Individual})
    claims: ClassVar[frozenset[str]] = frozenset({"permutation", "translation"})

    def smallest(self, spent: int = 0) -> int:
        """Return the smallest cohort that the rule can work with."""
        return 1

    def init(self, dim: int) -> State:
        """Return the state before the first round."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Aggregate]:
        """Return the next state and the aggregate."""
        rows = delivery.rows.dense().double()
        distances = (rows - rows.quantile(0.5, dim=0)).abs()
        nearest = distances.argsort(dim=0, stable=True)[: (len(rows) + 1) // 2]
        return state, Aggregate(rows.gather(0, nearest).mean(dim=0).float())


def main(seeds: int = 2) -> None:
    """Check the rule, call it, and let attackers at it."""
    check_rule(build("aggregator", "inner-half"))

    honest = np.random.default_rng(0).normal(1.0, 0.1, size=(8, 500))
    rows = np.vstack([honest, asepsis.craft(honest, "ipm", malicious=3, epsilon=5.0)])
    for name in ("mean", "inner-half"):
        print(f"{name:12} the mean coordinate is {asepsis.aggregate(rows, name).mean():+.2f}")

    table: dict[str, Any] = {
        "dataset": "breast-cancer",
        "partition": "iid",
        "model": "logistic",
        "federation": {"hospitals": 8, "rounds": 4},
        "threat": {"hostile": 2, "knows_defense": True},
    }
    axes: dict[str, list[Any]] = {
        "attack": [{"name": "ipm", "epsilon": 10.0}, "adaptive"],
        "defenses": [["mean"], ["inner-half"]],
    }
    for group in asepsis.sweep(table, axes, seeds=seeds).groups():
        now = group.metric("balanced_accuracy").mean
        print(f"{group.attack:12}{group.defense:12}{100 * now:5.1f} % balanced accuracy")


if __name__ == "__main__":
    main()
