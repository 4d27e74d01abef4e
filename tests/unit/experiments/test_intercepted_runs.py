"""What a record says of somebody on the wire, and how results read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import asepsis
from asepsis.core.errors import ConfigError
from asepsis.experiments.resolve import resolve
from asepsis.experiments.results import Group, load_results
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import results_of
from asepsis.experiments.summary import detection
from asepsis.federation.checks import check_parts

TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "trainer": {"name": "sgd", "steps": 1, "batch_size": 16},
    "federation": {"hospitals": 6, "rounds": 4},
    "threat": {"starts_at": 1, "every": 2},
    "attack": {"name": "intercept"},
    "defenses": ["signed", "mean"],
}


def lines(**changes: Any) -> list[Any]:
    spec: Experiment = parse(Experiment, {**TABLE, **changes})
    return run_experiment(spec, None, RunOptions(engine="serial"))


def group(folder: Path, **changes: Any) -> Group:
    asepsis.run({**TABLE, **changes}, jobs=1, engine="serial", out=folder)
    [found] = [one for one in load_results(folder).groups() if one.attack != "none"]
    return found


def test_its_rounds_count_as_attacked_and_the_run_stands_beside_its_twin(tmp_path: Path) -> None:
    found = group(tmp_path)
    [(run, twin)] = found.good
    assert run.attacked == [1, 3]
    assert not run.spared
    assert run.resolved["role"] == "interceptor"
    assert run.resolved["hostile"] == []
    assert [item.get("intercepted") is not None for item in run.rounds] == [False, True] * 2
    assert not any("intercepted" in item for item in twin.rounds)
    assert run.rounds[0] == twin.rounds[0]
    assert len(run.rounds[1]["intercepted"]) == 3


def test_signatures_prove_that_they_did_something(tmp_path: Path) -> None:
    [signed, _] = group(tmp_path).activation()
    assert signed == {
        "stage": "signed",
        "room": "transport",
        "changed": 0.5,
        "active": 1,
        "runs": 1,
    }


def test_signatures_do_nothing_against_hostile_hospitals_and_say_so() -> None:
    footer = lines(attack="sign-flip", threat={"hostile": 2})[-1]["result"]
    [proof] = [stage for stage in footer["activation"] if stage["stage"] == "signed"]
    assert proof["changed"] == 0.0
    assert not proof["active"]
    assert footer["detection"] == {}


def test_who_was_put_in_the_place_of_whom_is_scored_as_hostile() -> None:
    """Krum keeps one of three honest rows, and none of three that point far back."""
    made = lines(attack={"name": "intercept", "scale": -50.0}, defenses=["plain", "krum"])
    scored = made[-1]["result"]["detection"]
    assert scored["recall"] == 1.0
    assert scored["false_exclusion"] == pytest.approx(2 / 3)


def test_a_hospital_that_was_cut_off_is_scored_neither_way() -> None:
    item = {
        "round": 0,
        "present": [0, 1, 2],
        "hostile": [],
        "intercepted": {"0": "altered", "1": "dropped"},
        "dropped": [],
        "stages": [{"verdicts": {"0": 0.0, "2": 1.0}}],
    }
    assert detection([item]) == {
        "precision": 1.0,
        "recall": 1.0,
        "auc": 1.0,
        "false_exclusion": 0.0,
    }


def test_a_replay_is_idle_while_it_listens() -> None:
    footer = lines(attack={"name": "intercept", "does": "replay", "share": 1.0})[-1]["result"]
    assert footer["attack_inactive"] == 0.5
    assert footer["void_rounds"] == 1


def test_a_row_that_is_no_number_on_the_wire_is_no_divergence_of_an_honest_hospital() -> None:
    footer = lines(attack={"name": "intercept", "scale": 1e300}, defenses=["plain", "mean"])
    assert [line["result"]["dropped"] for line in footer[2:3]] != [[]]
    assert footer[-1]["result"]["status"] == "success"


@pytest.mark.parametrize("defense", ["plain", "signed", "secure-aggregation"])
def test_a_run_is_the_same_on_any_engine_and_any_number_of_workers(defense: str) -> None:
    spec: Experiment = parse(
        Experiment,
        {
            **TABLE,
            "attack": {"name": "intercept", "does": "replay", "share": 0.2},
            "defenses": [defense, "mean"],
        },
    )
    told = [
        results_of(run_experiment(spec, None, RunOptions(engine=engine, jobs=jobs)))
        for engine, jobs in (("serial", 1), ("threads", 2))
    ]
    assert told[0] == told[1]


def test_an_interceptor_takes_no_hostile_hospitals_where_it_is_asked_for_by_name() -> None:
    with pytest.raises(ConfigError, match=r"threat\.hostile"):
        lines(threat={"role": "interceptor", "hostile": 2})
    alone = lines(threat={"role": "interceptor", "starts_at": 1, "every": 2})
    beside = lines(threat={"hostile": 2, "starts_at": 1, "every": 2})
    assert alone[-1]["result"]["row"] == beside[-1]["result"]["row"]


def test_it_fits_hospitals_that_train_a_generator_too() -> None:
    table = {
        "dataset": "phantom",
        "task": "generation",
        "model": "dcgan",
        "trainer": {"name": "gan", "steps": 1, "batch_size": 4},
        "federation": {"hospitals": 3, "rounds": 2},
        "threat": {},
    }
    check_parts(resolve(parse(Experiment, {**TABLE, **table}))[0])
    with pytest.raises(ConfigError, match="generation"):
        check_parts(resolve(parse(Experiment, {**TABLE, **table, "attack": "dlg"}))[0])
