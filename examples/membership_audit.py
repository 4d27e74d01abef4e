"""Who can tell whose data were trained on? Three channels, one curious server.

The outcome of these made-up patients is pure chance: whatever a model knows of it is memory. A
server asks of patients whether they were trained on, and its score stands beside that of a
classifier that never saw the model. Only what lies above that was leaked.
"""

import tempfile
from pathlib import Path

import numpy as np

import asepsis

EXPERIMENT = {
    "partition": "iid",
    "model": "mlp",
    "trainer": {"name": "sgd", "lr": 0.1, "epochs": 20, "batch_size": 8},
    "federation": {"hospitals": 4, "rounds": 6},
    "observe": [{"name": "loss-mia", "when": {"starts_at": 5}}],
    "candidates": {"members": 20},
}
CHANNELS = {
    "plain": ["mean"],
    "90 % pruned": [{"name": "gradient-pruning", "share": 0.9}, "mean"],
    "secure sum": ["secure-aggregation", "mean"],
}
KEYS = ("auc", "blind_low", "blind_high")


def write_patients(path: Path) -> None:
    """Write 400 patients whose outcome has nothing to do with their values."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(400, 30)).astype(np.float32)
    np.savez(path, images=inputs, labels=rng.integers(0, 2, 400))


def main(seeds: int = 1) -> None:
    """Print how well members are told from the same hospital's other patients."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "patients.npz"
        write_patients(path)
        table = {**EXPERIMENT, "dataset": {"name": "npz", "path": str(path)}}
        for name, stack in CHANNELS.items():
            for run in asepsis.run({**table, "defenses": stack}, seeds=seeds).runs:
                (found,) = run.footer["evidence"]
                auc, low, high = (100 * found["scores"][f"held-out/{key}"] for key in KEYS)
                print(f"{name:12} AUC {auc:.0f}, without the model {low:.0f} to {high:.0f}")


if __name__ == "__main__":
    main()
