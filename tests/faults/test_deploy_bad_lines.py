"""A deployed experiment on lines that are heard, late, lossy or cut: as its record tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr")

from federations import federation
from wires import Streams

from asepsis.deploy.app import write_app
from asepsis.experiments.plan import plan_study, study_from
from asepsis.report.toml_text import study_toml
from asepsis.testing.wire.listening import overheard

pytestmark = pytest.mark.slow
HOSPITALS, ROUNDS = 3, 3
LONG = 600.0


def app(folder: Path) -> Path:
    table = {
        "name": "lines",
        "dataset": "breast-cancer",
        "trainer": {"name": "sgd", "steps": 2, "batch_size": 16},
        "federation": {"hospitals": HOSPITALS, "rounds": ROUNDS},
    }
    plan = plan_study(study_from(table, "lines"))
    return write_app(study_toml(plan.study), plan, folder).folder


def test_a_listener_without_tls_follows_the_training(tmp_path: Path) -> None:
    with federation(HOSPITALS, tmp_path, tls=False) as up:
        up.play(app(tmp_path / "app"), tmp_path / "results")
        assert up.told(until="end", seconds=LONG)[-1] == "end"
        assert isinstance(up.wires, Streams)
        lines = [overheard(list(proxy.pieces)) for proxy in up.wires.proxies]
    models, updates = [], []
    for number in range(ROUNDS):
        said = [
            (one.up, one.arrays["tensors/row"], one.said)
            for line in lines
            for one in line
            if one.said.get("asepsis/round") == number and "tensors/row" in one.arrays
        ]
        got = [row for up_, row, _ in said if not up_]
        assert len(got) == HOSPITALS
        assert len({row.tobytes() for row in got}) == 1
        models.append(got[0])
        updates.append([(row, told["asepsis/weight"]) for up_, row, told in said if up_])
    for before, after, sent in zip(models, models[1:], updates, strict=False):
        assert len(sent) == HOSPITALS
        mean = np.average([row for row, _ in sent], axis=0, weights=[w for _, w in sent])
        assert np.abs(mean).max() > 1e-4
        np.testing.assert_allclose(after, before + mean, rtol=1e-4, atol=1e-6)


def test_one_hospital_cut_off_for_good_is_missed_and_the_run_ends_well(tmp_path: Path) -> None:
    with federation(HOSPITALS, tmp_path, tls=True, namespaces=True) as up:
        up.play(app(tmp_path / "app"), tmp_path / "results")
        up.told(until="round 1 of", seconds=LONG)
        up.wires.cut(0)
        assert up.told(until="end", seconds=LONG)[-1] == "end"
    (record,) = (tmp_path / "results").glob("runs/*.jsonl")
    text = record.read_text()
    assert '"status":"success"' in text
    assert '"lost":{"0":"' in text


def test_most_hospitals_cut_off_for_good_are_told_of(tmp_path: Path) -> None:
    with federation(HOSPITALS, tmp_path, tls=True, namespaces=True) as up:
        up.play(app(tmp_path / "app"), tmp_path / "results")
        up.told(until="round 1 of", seconds=LONG)
        for hospital in (0, 1):
            up.wires.cut(hospital)
        up.told(until="end", seconds=LONG)
    (record,) = (tmp_path / "results").glob("runs/*.jsonl")
    text = record.read_text()
    assert '"lost":{"0":"' in text
    assert "1 of 3 hospitals answered" in text
