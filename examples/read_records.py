"""Read a results folder: one row a run, curves by round, what every defense changed."""

import tempfile
from pathlib import Path

import asepsis
from asepsis.experiments.results import load_results

EXPERIMENT = {
    "dataset": "breast-cancer",
    "partition": "iid",
    "model": "logistic",
    "federation": {"hospitals": 8, "rounds": 5},
    "threat": {"hostile": 2, "starts_at": 2},
    "attack": "sign-flip",
    "defenses": ["norm-clip", {"name": "multi-krum", "f": 2}],
}


def main(seeds: int = 2) -> None:
    """Run something small, then read what it left."""
    with tempfile.TemporaryDirectory() as folder:
        asepsis.run(EXPERIMENT, seeds=seeds, out=Path(folder) / "results")
        results = load_results(Path(folder) / "results")

    frame = results.frame()
    print(frame[["attack", "seed", "status", "balanced_accuracy", "auroc"]].to_string())
    for run in results.runs:
        curve = " ".join(f"{100 * value:.0f}" for value in run.curve("balanced_accuracy"))
        print(f"\n{run.cell.attack}, seed {run.cell.seed}: balanced accuracy by round {curve}")
        for stage in run.footer["activation"]:
            print(f"  {stage['stage']} changed {stage['changed']:.2f}, active: {stage['active']}")
        detection = run.footer["detection"]
        print(f"  honest hospitals excluded: {detection['false_exclusion']:.0%}")
        if run.cell.attack != "none":
            print(f"  hostile hospitals excluded: {detection['recall']:.0%}")


if __name__ == "__main__":
    main()
