"""Start-up and seconds a round of a deployed experiment, beside a plain Flower app.

Usage: python benchmarks/deployment.py [--hospitals 3] [--rounds 4] [--repeats 2] [--json]

One SuperLink and its SuperNodes on loopback, with TLS and node authentication, as `asepsis deploy
--local` starts them. On them two apps take turns: an experiment of ours (`mlp` on `breast-cancer`,
eight local steps), and `plain_deployed/`, which trains the same network on the same patients with
Flower and PyTorch alone. `first` is from handing an app in to the end of its first round, `round`
the mean of the rounds after it; medians over repeats. Flower starts a Python process for every
message, and its nodes look for messages every three seconds. Ratios hold within one run only.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from asepsis.deploy import flower
from asepsis.deploy.app import App, write_app
from asepsis.deploy.local import Local, follow, local
from asepsis.deploy.texts import SAID, Settings
from asepsis.experiments.plan import plan_study, study_from
from asepsis.report.toml_text import study_toml

PLAIN = Path(__file__).with_name("plain_deployed")
ROUND = re.compile(r"round (\d+) of ")


class Watch:
    """Notes when each round was over."""

    def __init__(self) -> None:
        self._began, self._over = time.perf_counter(), dict[int, float]()

    def hear(self, line: str) -> None:
        """Take a line that a server's app said."""
        found = ROUND.search(line)
        if found:
            self._over[int(found[1])] = time.perf_counter() - self._began

    def times(self) -> tuple[float, float]:
        """Return the seconds until the first round was over, and those of one after it."""
        last = max(self._over)
        return self._over[1], (self._over[last] - self._over[1]) / (last - 1)


def written(hospitals: int, rounds: int, folder: Path) -> App:
    table = {
        "name": "deployed",
        "dataset": "breast-cancer",
        "model": "mlp",
        "trainer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "batch_size": 16, "steps": 8},
        "federation": {"hospitals": hospitals, "rounds": rounds},
    }
    plan = plan_study(study_from(table, "deployed"))
    return write_app(study_toml(plan.study), plan, folder)


def played(up: Local, name: str, app: Path, config: str) -> tuple[float, float]:
    """Play an app on what is up, under a name of its own."""
    settings = flower.write_private(up.kept.folder / f"{name}.toml", config)
    watch = Watch()
    up.kept.start(name, flower.submit(app.resolve(), settings), up.env)
    follow(up.kept, name, watch.hear)
    return watch.times()


def measure(hospitals: int, rounds: int, repeats: int, tell: Callable[[str], None]) -> object:
    times: dict[str, list[tuple[float, float]]] = {"plain": [], "asepsis": []}
    config = f'nodes = {hospitals}\nrounds = {rounds}\nmark = "{SAID}"\n'
    with tempfile.TemporaryDirectory() as made:
        app = written(hospitals, rounds, Path(made) / "app")
        began = time.perf_counter()
        with local(hospitals, tell) as up:
            starting = time.perf_counter() - began
            for number in range(repeats):
                results = Settings(str(Path(made) / f"results-{number}"))
                times["plain"].append(played(up, f"plain-{number}", PLAIN, config))
                times["asepsis"].append(played(up, f"run-{number}", app.folder, results.toml()))
                tell(f"{number + 1} of {repeats}: {times}")
    middle = {
        which: [statistics.median(values) for values in zip(*found, strict=True)]
        for which, found in times.items()
    }
    first, later = (
        ours_ / theirs for ours_, theirs in zip(middle["asepsis"], middle["plain"], strict=True)
    )
    return {"starting": starting, **middle, "first_ratio": first, "round_ratio": later}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--hospitals", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    quiet = arguments.json
    found = measure(
        arguments.hospitals,
        arguments.rounds,
        arguments.repeats,
        lambda line: None if quiet else print(line, flush=True),
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
