"""Secure aggregation against robust rules: what hides hospitals hides attackers.

A robust rule needs single updates, which a secure sum does not have. asepsis refuses such a stack
and says what would go; summing in small groups is one way to have some of both.
"""

import asepsis
from asepsis.core.errors import AsepsisError

EXPERIMENT = {
    "dataset": "breast-cancer",
    "partition": "iid",
    "model": "logistic",
    "federation": {"hospitals": 12, "rounds": 6},
    "threat": {"hostile": 1},
    "attack": {"name": "ipm", "epsilon": 30.0},
}
STACKS = [
    ["plain", "mean"],
    ["plain", {"name": "multi-krum", "f": 1}],
    ["secure-aggregation", "mean"],
    [{"name": "grouped-secure-sum", "size": 3}, "median"],
]


def main(seeds: int = 2) -> None:
    """Show the refusal, then the price of each stack that goes."""
    try:
        asepsis.run({**EXPERIMENT, "defenses": ["secure-aggregation", "krum"]})
    except AsepsisError as error:
        print(f"refused: {error}\n")
    for group in asepsis.sweep(EXPERIMENT, {"defenses": STACKS}, seeds=seeds).groups():
        if group.attack != "none":
            change = group.change("balanced_accuracy").mean
            print(f"{group.defense:32} the attack moves accuracy by {100 * change:+.1f} points")


if __name__ == "__main__":
    main()
