"""A first federation: two attacks, three ways to combine updates.

Ten hospitals train on records of breast cancer that come with scikit-learn; three of them turn
hostile after two rounds. Every attacked run is compared with its attack-free twin.
"""

from typing import Any

import asepsis

EXPERIMENT = {
    "dataset": "breast-cancer",
    "partition": {"name": "dirichlet", "alpha": 5.0},
    "model": "logistic",
    "trainer": {"name": "sgd", "lr": 0.1, "epochs": 2},
    "federation": {"hospitals": 10, "rounds": 5},
    "threat": {"hostile": 3, "starts_at": 2},
}
AXES: dict[str, list[Any]] = {
    "attack": [{"name": "ipm", "epsilon": 5.0}, "badnets"],
    "defenses": [["mean"], ["median"], [{"name": "multi-krum", "f": 3}]],
}


def main(seeds: int = 3) -> None:
    """Run all combinations and print what the attack changed."""
    results = asepsis.sweep(EXPERIMENT, AXES, seeds=seeds)
    print(f"{'attack':12}{'defense':12}  balanced accuracy   change to the twin")
    for group in results.groups():
        now, change = group.metric(group.primary), group.change(group.primary)
        margin = change.high - change.mean
        told = f"{100 * now.mean:5.1f}    {100 * change.mean:+6.1f} ±{100 * margin:.1f} points"
        print(f"{group.attack:12}{group.defense:12}  {told}")


if __name__ == "__main__":
    main()
