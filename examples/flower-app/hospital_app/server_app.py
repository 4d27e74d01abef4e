"""The server: Flower's own app, with three lines of asepsis."""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from asepsis.flower import RobustStrategy  # 1
from hospital_app.task import accuracy, initial

app = ServerApp()


@app.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    """Run the federation and say how good the model became."""
    settings = context.run_config
    hospitals = int(settings["hospitals"])
    strategy = FedAvg(min_train_nodes=hospitals)
    if settings["defended"]:
        stages = ["norm-clip", "reputation", {"name": "trimmed-mean", "f": 2}]  # 2
        strategy = RobustStrategy(stages, min_train_nodes=hospitals)  # 3
    arrays = ArrayRecord({name: Array(array) for name, array in initial().items()})
    result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=int(settings["rounds"]))
    model = {name: array.numpy() for name, array in result.arrays.items()}
    print(f"accuracy on the test patients: {accuracy(model):.3f}")
