"""Whoever does not fit the model or the protocol is refused before anything is played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asepsis.core.errors import ConfigError
from asepsis.experiments.resolve import resolve
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Store
from asepsis.federation.build import assemble

PHANTOM: dict[str, Any] = {
    "dataset": {"name": "phantom", "n": 60, "size": 16},
    "partition": "iid",
    "model": "mlp",
    "trainer": {"name": "sgd", "steps": 1, "batch_size": 4},
    "federation": {"hospitals": 3, "rounds": 2},
    "candidates": {"members": 2},
}
TABLE = {**PHANTOM, "dataset": "breast-cancer"}
ADAM = {"trainer": {"name": "adam", "steps": 1, "batch_size": 4}}
INVERT = ("dlg", "idlg", "inverting-gradients", "analytic", "label-leakage", "property-inference")
LENET = {"model": "lenet"}


def assembled(base: dict[str, Any], **changes: Any) -> None:
    made: Experiment = parse(Experiment, {**base, **changes})
    assemble(resolve(made)[0])


@pytest.mark.parametrize("name", INVERT)
def test_who_reads_gradients_fits_sgd_and_no_adam(name: str) -> None:
    assembled(PHANTOM, observe=[name])
    for how in ({"observe": [name]}, {"attack": name}):
        with pytest.raises(ConfigError, match="an update made by Adam tells no gradient"):
            assembled(PHANTOM, **ADAM, **how)


def test_an_imprint_reads_gradients_too() -> None:
    assembled(PHANTOM, attack="robbing-the-fed")
    with pytest.raises(ConfigError, match="an update made by Adam tells no gradient"):
        assembled(PHANTOM, **ADAM, attack="robbing-the-fed")


RECURSIVE = {"name": "analytic", "method": "recursive"}
ONE = {"model": "lenet-sigmoid", "trainer": {"name": "sgd", "steps": 1, "batch_size": 1}}
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("first layer is not a linear one", PHANTOM, {**LENET, "observe": ["analytic"]}),
    ("no place for an imprint", PHANTOM, {**LENET, "attack": "robbing-the-fed"}),
    ("no place for an imprint", PHANTOM, {"model": "logistic", "attack": "robbing-the-fed"}),
    ("cannot be silenced", TABLE, {"model": "logistic", "attack": "model-inconsistency"}),
    ("cannot go back through ReLU", PHANTOM, {**ONE, "model": "mlp", "observe": [RECURSIVE]}),
    ("gradient of one sample", PHANTOM, {"model": "lenet-sigmoid", "observe": [RECURSIVE]}),
    (
        "there is no such column",
        TABLE,
        {"observe": [{"name": "attribute-inference", "attribute": 99}]},
    ),
]


@pytest.mark.parametrize(("why", "base", "changes"), REFUSED)
def test_what_does_not_fit_is_refused(
    why: str, base: dict[str, Any], changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        assembled(base, **changes)
    assert str(caught.value).startswith("observe " if "observe" in changes else "attack")


FITTING: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (PHANTOM, {"attack": "robbing-the-fed"}),
    (PHANTOM, {"attack": "model-inconsistency"}),
    (PHANTOM, {**LENET, "attack": "model-inconsistency"}),
    (PHANTOM, {"model": "lenet-sigmoid", "attack": "model-inconsistency"}),
    (PHANTOM, {**ADAM, "attack": "model-inconsistency"}),
    (PHANTOM, {**ADAM, "observe": ["fedmia", "loss-mia", "gradient-cosine-mia", "lira"]}),
    (PHANTOM, {**ONE, "observe": [RECURSIVE]}),
    (TABLE, {"observe": ["attribute-inference"]}),
]


@pytest.mark.parametrize(("base", "changes"), FITTING)
def test_what_fits_is_not_refused(base: dict[str, Any], changes: dict[str, Any]) -> None:
    assembled(base, **changes)


def test_nothing_is_played_and_nothing_recorded(tmp_path: Path) -> None:
    late = {"name": "analytic", "when": {"starts_at": 1}}
    made: Experiment = parse(Experiment, {**PHANTOM, **LENET, "observe": ["label-leakage", late]})
    store = Store(tmp_path).open()
    with pytest.raises(ConfigError, match="first layer is not a linear one"):
        run_experiment(made, store, RunOptions(engine="serial"))
    assert not list((tmp_path / "runs").iterdir())


def test_behind_a_sum_there_is_no_gradient_of_one_sample_to_go_back_through() -> None:
    made = parse(
        Experiment,
        {**PHANTOM, **ONE, "observe": [RECURSIVE], "defenses": ["secure-sum", "mean"]},
    )
    lines = run_experiment(made, None, RunOptions(engine="serial"))
    assert lines[-1]["result"]["evidence"] == []
