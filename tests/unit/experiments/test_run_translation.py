"""A run from MR to CT: what its record says."""

from __future__ import annotations

from typing import Any

import pytest

from asepsis.core.errors import ConfigError
from asepsis.experiments.figures import figures
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse

TABLE: dict[str, Any] = {
    "dataset": {"name": "head-phantom", "n": 60, "size": 16},
    "partition": "site",
    "model": {"name": "unet", "channels": 2, "depth": 1},
    "trainer": {"name": "prox", "steps": 1, "batch_size": 4},
    "federation": {"hospitals": "all", "rounds": 2, "unseen": "scanner-B"},
}


def spec(**changes: Any) -> Experiment:
    made: Experiment = parse(Experiment, {**TABLE, **changes})
    return made


def test_a_record_tells_unit_prior_and_who_was_unseen() -> None:
    lines = run_experiment(spec(), None, RunOptions(engine="serial"))
    told, footer = lines[0]["result"]["resolved"], lines[-1]["result"]
    assert told["components"]["task"]["name"] == "translation"
    assert (told["primary"], told["unit"]) == ("ssim", "HU")
    assert told["hospitals"] == ["scanner-A", "scanner-C"]
    assert told["unseen"] == {"hospital": "scanner-B", "samples": 20}
    names = {f"{where}{name}" for where in ("", "unseen/") for name in ("ssim", "mae", "psnr")}
    assert set(footer["tail"]) == set(footer["prior"]) == names
    assert names < figures()
    assert 50 < footer["prior"]["mae"] < 1000
    assert set(footer["hospitals"]) == {"scanner-A", "scanner-C"}


def test_a_wrong_name_lists_the_right_ones() -> None:
    with pytest.raises(ConfigError, match=r"federation\.unseen: .*scanner-B.*scanner-C"):
        run_experiment(spec(federation={"hospitals": "all", "unseen": "scanner-b"}))


def test_virtual_hospitals_take_part_and_a_whole_site_is_unseen() -> None:
    lines = run_experiment(spec(partition={"name": "virtual", "min_samples": 4}))
    told = lines[0]["result"]["resolved"]
    assert told["hospitals"] == [f"scanner-{site}/{k}" for site in "AC" for k in (1, 2)]
    assert told["unseen"]["samples"] == 20


def test_any_task_may_have_an_unseen_hospital() -> None:
    table = {
        "dataset": "breast-cancer",
        "partition": "iid",
        "trainer": {"name": "sgd", "steps": 1},
        "federation": {"hospitals": 4, "rounds": 1, "unseen": 0},
    }
    made: Experiment = parse(Experiment, table)
    lines = run_experiment(made)
    tail = lines[-1]["result"]["tail"]
    assert tail["unseen/balanced_accuracy"] != tail["balanced_accuracy"]
    assert "prior" not in lines[-1]["result"]
    assert lines[0]["result"]["resolved"]["unseen"]["hospital"] == "hospital-0"
