"""Bad lines between hospitals and their server: a run goes on, or stops with a clear reason."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("flwr")

from federations import federation

pytestmark = pytest.mark.slow
NODES, ROUNDS, SIZE = 3, 2, 50_000


def test_a_line_that_loses_packets_changes_nothing(tmp_path: Path) -> None:
    with federation(NODES, tmp_path, tls=True, namespaces=True) as up:
        if not up.wires.loses:
            pytest.skip("no namespaces are allowed here, and a proxy loses nothing")
        for node in range(NODES):
            up.wires.lose(node, 0.05)
        up.run(rounds=ROUNDS, size=SIZE, timeout=90.0, quorum=NODES)
        assert up.finish(200) == ""
        assert all(line["nodes"] == [0, 1, 2] for line in up.rounds())


def test_a_slow_line_changes_nothing(tmp_path: Path) -> None:
    with federation(NODES, tmp_path, tls=True, namespaces=True) as up:
        for node in range(NODES):
            up.wires.delay(node, 0.2)
        up.run(rounds=ROUNDS, size=SIZE, timeout=90.0, quorum=NODES)
        assert up.finish(200) == ""
        assert all(line["nodes"] == [0, 1, 2] for line in up.rounds())


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_hospital_that_is_cut_off_for_a_while_comes_back(
    tmp_path: Path, namespaces: bool
) -> None:
    with federation(NODES, tmp_path, tls=True, namespaces=namespaces) as up:
        up.run(rounds=4, size=SIZE, timeout=30.0, quorum=2)
        up.until(1, 100)
        up.wires.cut(0)
        time.sleep(20)
        up.wires.mend(0)
        assert up.finish(200) == ""
        *_, last = up.rounds()
        assert last["nodes"] == [0, 1, 2]


def test_one_hospital_that_is_cut_off_for_good_is_missed_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    with federation(NODES, tmp_path, tls=True, namespaces=True) as up:
        up.run(rounds=3, size=SIZE, timeout=25.0, quorum=2)
        up.until(1, 100)
        up.wires.cut(0)
        assert up.finish(200) == ""
        assert [line["nodes"] for line in up.rounds()][-1] == [1, 2]


def test_too_many_hospitals_cut_off_for_good_end_the_run_with_a_reason(tmp_path: Path) -> None:
    with federation(NODES, tmp_path, tls=True, namespaces=True) as up:
        up.run(rounds=4, size=SIZE, timeout=25.0, quorum=2)
        up.until(1, 100)
        up.wires.cut(0)
        up.wires.cut(1)
        assert "1 of 3 nodes answered in time, the quorum is 2" in up.finish(200)
