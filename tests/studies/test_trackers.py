"""MLflow's and TensorBoard's own readers find what asepsis told; needs the packages themselves."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

import asepsis
from asepsis.cli.track import Target, track
from asepsis.experiments.results import Results

pytestmark = pytest.mark.slow


@pytest.fixture
def results(tmp_path: Path) -> Results:
    table = {
        "dataset": "breast-cancer",
        "attack": "ipm",
        "threat": {"hostile": 1},
        "trainer": {"name": "sgd", "steps": 1},
        "federation": {"hospitals": 4, "rounds": 3},
    }
    return asepsis.run(table, out=tmp_path / "out")


def test_mlflow_has_every_run_once(results: Results) -> None:
    mlflow = pytest.importorskip("mlflow")
    assert results.root is not None
    for _ in range(2):
        track(results.root, Target.MLFLOW)
    store = results.root / "mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store}")
    place = client.get_experiment_by_name(f"asepsis/{results.study.name}").experiment_id
    kept = client.search_runs([place])
    assert len(kept) == len(results.runs)
    for run in results.runs:
        (one,) = [
            item
            for item in kept
            if item.data.tags["asepsis.run"] == run.lines[0]["result"]["digest"]
        ]
        assert one.info.status == "FINISHED"
        assert one.data.params["federation.rounds"] == "3"
        curve = client.get_metric_history(one.info.run_id, "accuracy")
        told = [point.value for point in sorted(curve, key=lambda point: point.step)]
        assert told == pytest.approx(run.curve("accuracy"))
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    with sqlite3.connect(store) as lines:
        whole = [line for line in lines.iterdump() if not _of_mlflow(line)]
    lines.close()
    for place in (results.root.parent, Path.cwd()):
        assert [line for line in whole if str(place) in line] == []


def _of_mlflow(line: str) -> bool:
    """Whether a row is about the experiment that MLflow makes for itself, with its own folder."""
    return line.startswith('INSERT INTO "experiments" VALUES(0,')


def test_tensorboards_format_is_read_by_another_program(results: Results) -> None:
    events = pytest.importorskip("tensorboardX.proto.event_pb2")
    record = pytest.importorskip("tensorboardX.record_writer")

    assert results.root is not None
    track(results.root, Target.TENSORBOARD)
    for run in results.runs:
        folder = results.root / "tensorboard" / run.lines[0]["result"]["digest"]
        (path,) = folder.iterdir()
        rest, curve, text = path.read_bytes(), [], ""
        while rest:
            length = int.from_bytes(rest[:8], "little")
            body = rest[12 : 12 + length]
            assert int.from_bytes(
                rest[12 + length : 16 + length], "little"
            ) == record.masked_crc32c(body)
            event = events.Event.FromString(body)
            for value in event.summary.value:
                if value.tag == "accuracy":
                    curve.append((event.step, value.simple_value))
                elif value.tag == "about":
                    assert value.metadata.plugin_data.plugin_name == "text"
                    text = value.tensor.string_val[0].decode()
            rest = rest[16 + length :]
        assert [step for step, _ in curve] == [0, 1, 2]
        assert [value for _, value in curve] == pytest.approx(run.curve("accuracy"), rel=1e-6)
        assert "asepsis.protocol" in text
