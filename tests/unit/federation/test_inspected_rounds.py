"""A federation's finished model before its inspectors: what they are handed, what is recorded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.experiments import resolve as resolve_module
from asepsis.experiments.identity import identity
from asepsis.experiments.resolve import resolve
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment
from asepsis.experiments.store import Store, read_tensors
from asepsis.federation import inspection
from asepsis.federation.build import assemble
from asepsis.federation.desk import joined
from asepsis.federation.federation import Federation
from asepsis.federation.inspection import Door, held

BADNETS: dict[str, Any] = {"name": "badnets", "share": 0.4, "trigger": "patch"}
BASE: dict[str, Any] = {
    "dataset": {"name": "phantom", "n": 300},
    "partition": "iid",
    "federation": {"hospitals": 3, "rounds": 1},
    "threat": {"hostile": 1},
    "inspect": ["grad-cam", {"name": "grad-cam", "noise": 0.5}, "spectral-signatures"],
    "root": {"samples": 20},
}
SERIAL = RunOptions(engine="serial")


def built(**changes: Any) -> Federation:
    spec = Experiment(**{**BASE, "attack": BADNETS, **changes})
    return assemble(resolve(spec)[0])[0]


def subject_in(federation: Federation) -> tuple[Any, Any]:
    attack: Any = federation.attack
    tests = joined([hospital.test for hospital in federation.hospitals])
    row = federation.begin().row
    return inspection._subject(federation, tests, row, Door(attack, attack.stamp))


def inspections(**changes: Any) -> dict[str, Any]:
    record = run_experiment(Experiment(**{**BASE, **changes}), None, SERIAL)
    found: dict[str, Any] = record[-1]["result"]["inspections"]
    return found


def test_training_samples_are_as_the_hospitals_hold_them() -> None:
    federation = built()
    shard, poisoned = held(federation)
    sizes = [len(hospital.train) for hospital in federation.hospitals]
    assert len(shard) == len(poisoned) == sum(sizes)
    [hostile] = federation.threat.clients
    owner = np.repeat([hospital.id for hospital in federation.hospitals], sizes)
    assert set(owner[poisoned]) == {hostile}
    assert poisoned.sum() == round(0.4 * sizes[hostile])
    assert bool((shard.targets[torch.from_numpy(poisoned)] == 0).all())


def test_samples_on_top_of_the_originals_are_poisoned_too() -> None:
    federation = built(attack={**BADNETS, "keep_originals": True})
    _, poisoned = held(federation)
    [hostile] = federation.threat.clients
    train = len(federation.hospitals[hostile].train)
    assert poisoned.sum() == round(0.4 * train)
    assert len(poisoned) == sum(len(h.train) for h in federation.hospitals) + poisoned.sum()


def test_judged_inputs_are_mixed_and_of_other_classes() -> None:
    federation = built()
    subject, truth = subject_in(federation)
    tests = joined([hospital.test for hospital in federation.hospitals])
    others = tests.take(tests.targets != 0)
    assert len(subject.inputs) == len(others)
    assert truth.triggered.sum() == len(others) // 3
    assert not (truth.triggered[: len(others) // 3]).all()
    clean = {tuple(row.tolist()) for row in federation.prepare(others).inputs.flatten(1)}
    untouched = [tuple(row.tolist()) in clean for row in subject.inputs.flatten(1)]
    assert untouched == (~truth.triggered).tolist()


def test_boxes_are_what_the_trigger_changed() -> None:
    federation = built()
    _, truth = subject_in(federation)
    attack: Any = federation.attack
    mask = attack.stamp.mask((28, 28))
    assert not truth.boxes[~truth.triggered].any()
    assert (truth.boxes[truth.triggered] <= mask).all()
    assert (truth.boxes[truth.triggered].any(axis=0) == mask).all()


def test_with_findings_the_target_must_be_absent() -> None:
    federation = built(dataset={"name": "phantom", "n": 300, "multilabel": True})
    tests = joined([hospital.test for hospital in federation.hospitals])
    attack: Any = federation.attack
    assert (inspection._may_be_fooled(tests.targets, attack) == (tests.targets[:, 0] == 0)).all()
    subject, truth = subject_in(federation)
    assert subject.training.targets.dim() == 2
    assert truth.triggered.any()


def test_backdoors_that_differ_in_their_training_alone_are_looked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probes = {
        "few": {**BADNETS, "share": 0.1},
        "many": {**BADNETS, "share": 0.8},
        "elsewhere": {**BADNETS, "target": 1},
    }
    looked: list[str] = []
    subject = inspection._subject

    def counted(*given: Any) -> Any:
        looked.append("")
        return subject(*given)

    monkeypatch.setattr(inspection, "_subject", counted)
    found = inspections(probes=probes)["grad-cam"]
    assert len(looked) == 2
    assert found["few"] == found["many"] != found["elsewhere"]
    alone = inspections(probes={"many": probes["many"]})["grad-cam"]
    assert alone["many"] == found["many"]


def test_maps_of_triggered_images_are_kept_of_public_data_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Experiment(**{**BASE, "attack": BADNETS})
    store = Store(tmp_path).open()
    path = store.pictures(identity(spec, "serial"))
    monkeypatch.setattr(resolve_module, "public", lambda _: False)
    run_experiment(spec, store, SERIAL)
    assert not path.exists()
    monkeypatch.setattr(resolve_module, "public", lambda _: True)
    run_experiment(spec, store, SERIAL)
    kept = read_tensors(path) or {}
    assert set(kept) == {"inspected", "map of grad-cam", "map of grad-cam (noise=0.5)"}
    assert len({batch.shape for batch in kept.values()}) == 1
    for batch in kept.values():
        assert float(batch.min()) >= -1
        assert float(batch.max()) <= 1
    assert bool((kept["inspected"][:, 0, -3:-1, -3:-1] == 1).all())  # the patch
    run_experiment(spec.twin(), store, SERIAL)
    assert not store.pictures(identity(spec.twin(), "serial")).exists()


def test_an_attacked_run_is_searched_for_its_own_backdoor() -> None:
    found = inspections(attack=BADNETS)
    assert set(found) == {"grad-cam", "grad-cam (noise=0.5)", "spectral-signatures"}
    assert set(found["grad-cam"]) == {"attack", "leakage"}
    assert 0 <= found["grad-cam"]["attack"]["auroc"] <= 1
    assert found["grad-cam"]["attack"]["mass_chance"] == pytest.approx(9 / 784)
    assert found["spectral-signatures"]["attack"]["poisoned_auroc"] > 0
    assert found == inspections(attack=BADNETS)


def test_noise_costs_what_the_map_leaks() -> None:
    found = inspections(attack=BADNETS)
    plain, noisy = (found[name]["leakage"] for name in ("grad-cam", "grad-cam (noise=0.5)"))
    assert plain["r2"] > noisy["r2"]


def test_a_twin_is_searched_for_every_probe() -> None:
    found = inspections(probes={"one": BADNETS, "two": {**BADNETS, "target": 1}})
    assert set(found["grad-cam"]) == {"one", "two", "leakage"}
    assert np.isnan(found["spectral-signatures"]["one"]["poisoned_auroc"])


def test_where_there_is_no_trigger_nothing_is_found() -> None:
    found = inspections()
    assert set(found["grad-cam"]) == {"none", "leakage"}
    assert np.isnan(found["grad-cam"]["none"]["auroc"])


def test_inspection_changes_nothing_else_of_a_run() -> None:
    without = {key: value for key, value in BASE.items() if key != "inspect"}
    one = run_experiment(Experiment(**{**without, "attack": BADNETS}), None, SERIAL)
    two = run_experiment(Experiment(**{**BASE, "attack": BADNETS}), None, SERIAL)
    assert one[-1]["result"]["row"] == two[-1]["result"]["row"]
    assert one[-1]["result"]["last"] == two[-1]["result"]["last"]
    assert "inspections" not in one[-1]["result"]
    assert [item["name"] for item in two[0]["result"]["resolved"]["inspect"]] == [
        "grad-cam",
        "grad-cam",
        "spectral-signatures",
    ]


def test_what_does_not_fit_is_refused_before_anything_runs() -> None:
    table = {"dataset": "breast-cancer", "attack": None}
    with pytest.raises(ConfigError, match="does not look at data of kind 'table'"):
        built(**table)
    with pytest.raises(ConfigError, match="the same inspector twice"):
        built(inspect=["strip", "strip"])


def test_a_missing_extra_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingExtraError, match="captum"):
        built()
